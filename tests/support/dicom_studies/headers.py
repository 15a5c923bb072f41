"""What scanners of three vendors write about each contrast, from public conventions."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

VENDORS = ("siemens", "ge", "philips")

EQUIPMENT = {
    "siemens": ("SIEMENS", "MAGNETOM Prisma", "syngo MR E11"),
    "ge": ("GE MEDICAL SYSTEMS", "DISCOVERY MR750", "27\\LX\\MR Software release:DV26.0_R03"),
    "philips": ("Philips Medical Systems", "Ingenia", "5.4.1\\5.4.1.2"),
}


@dataclass(frozen=True)
class Header:
    """A series' header as a scanner writes it; times in ms, angles in degrees.

    Attributes:
        b_values: one volume each; empty where the series is not diffusion-weighted.
        tags: further attributes by keyword.
    """

    description: str
    image_type: tuple[str, ...]
    sequence: tuple[str, ...]
    variant: tuple[str, ...]
    acquisition: str
    tr: float
    te: float
    flip: float
    ti: float | None = None
    options: tuple[str, ...] = ()
    sequence_name: str = ""
    b_values: tuple[float, ...] = ()
    contrast_agent: str = ""
    plane: str = "axial"
    thick: bool = False
    tags: dict[str, object] = field(default_factory=dict)


_ORIGINAL = {
    "siemens": ("ORIGINAL", "PRIMARY", "M", "ND", "NORM"),
    "ge": ("ORIGINAL", "PRIMARY", "OTHER"),
    "philips": ("ORIGINAL", "PRIMARY", "M_FFE", "M", "FFE"),
}
_SPIN = {**_ORIGINAL, "philips": ("ORIGINAL", "PRIMARY", "M_SE", "M", "SE")}


def _series() -> dict[str, dict[str, Header]]:
    table: dict[str, dict[str, Header]] = {vendor: {} for vendor in VENDORS}

    def add(contrast: str, siemens: Header, ge: Header, philips: Header) -> None:
        for vendor, header in zip(VENDORS, (siemens, ge, philips), strict=True):
            table[vendor][contrast] = header

    t1 = {
        "siemens": Header("t1_mprage_sag_p2_iso", _ORIGINAL["siemens"], ("GR", "IR"),
                          ("SK", "SP", "MP"), "3D", 2300, 2.32, 8, 900, ("IR", "PFP"),
                          "*tfl3d1_16ns", plane="sagittal"),
        "ge": Header("Sag T1 BRAVO", _ORIGINAL["ge"], ("GR",), ("SS", "SP", "SK"), "3D", 8.2, 3.2,
                     12, None, ("FAST_GEMS", "EDR_GEMS"), "", plane="sagittal"),
        "philips": Header("3D T1 TFE SAG", _ORIGINAL["philips"], ("GR",), ("MP",), "3D", 8.1, 3.7,
                          8, None, ("FC",), "", plane="sagittal"),
    }  # fmt: skip
    add("t1", *t1.values())
    add("t1c", *(
        replace(t1[vendor], description=text, contrast_agent=agent)
        for vendor, text, agent in (
            ("siemens", "t1_mprage_sag_p2_iso_KM", "Gadovist"),
            ("ge", "Sag T1 BRAVO +C", "DOTAREM"),
            ("philips", "3D T1 TFE SAG GD", "GADOLINIUM"),
        )
    ))  # fmt: skip
    add(
        "t2",
        Header("t2_tse_tra_512", _SPIN["siemens"], ("SE",), ("SK", "SP", "OSP"), "2D", 6000, 99,
               150, None, ("PFP",), "*tse2d1_18", thick=True),
        Header("Ax T2 PROPELLER", _SPIN["ge"], ("SE",), ("SK",), "2D", 5200, 102, 142, None,
               ("FAST_GEMS",), "", thick=True),
        Header("T2W_TSE AX", _SPIN["philips"], ("SE",), ("SK",), "2D", 3000, 80, 90, None,
               ("OTHER",), "", thick=True),
    )  # fmt: skip
    add(
        "flair",
        Header("t2_tirm_tra_dark-fluid", _SPIN["siemens"], ("SE", "IR"), ("SK", "SP", "MP"), "2D",
               9000, 81, 150, 2500, ("IR", "SAT1"), "*tir2d1_16", thick=True),
        Header("Ax T2 FLAIR", _SPIN["ge"], ("SE", "IR"), ("SK",), "2D", 8802, 120, 111, 2250,
               ("FAST_GEMS",), "", thick=True),
        Header("FLAIR longTR AX", ("ORIGINAL", "PRIMARY", "M_IR", "M", "IR"), ("IR",), ("SK",),
               "2D", 11000, 125, 90, 2800, ("OTHER",), "", thick=True),
    )  # fmt: skip
    add(
        "dwi",
        Header("ep2d_diff_3scan_trace_p2_TRACEW",
               ("ORIGINAL", "PRIMARY", "DIFFUSION", "TRACEW", "ND", "NORM"),
               ("EP",), ("SK", "SP"), "2D", 6100, 86, 90, None, ("PFP", "FS"), "*ep_b1000t",
               (0, 1000), thick=True),
        Header("Ax DWI b1000", _SPIN["ge"], ("EP", "SE"), ("NONE",), "2D", 8000, 81, 90, None,
               ("EPI_GEMS", "PFF"), "", (0, 1000), thick=True),
        Header("DWI_3B1000 SENSE", _SPIN["philips"], ("SE",), ("SK",), "2D", 3400, 77, 90, None,
               ("FS", "PFP"), "", (0, 1000), thick=True),
    )  # fmt: skip
    add(
        "adc",
        Header("ep2d_diff_3scan_trace_p2_ADC",
               ("DERIVED", "PRIMARY", "DIFFUSION", "ADC", "ND", "NORM"),
               ("EP",), ("SK", "SP"), "2D", 6100, 86, 90, None, ("PFP", "FS"), "*ep_b0_1000",
               thick=True),
        Header("Apparent Diffusion Coefficient (mm2/s)",
               ("DERIVED", "SECONDARY", "COMBINED"), ("EP", "SE"), ("NONE",), "2D", 8000, 81, 90,
               None, ("EPI_GEMS", "PFF"), "", thick=True),
        Header("dADC", ("DERIVED", "PRIMARY", "ADC", "ADC", "UNSPECIFIED"), ("SE",),
               ("SK",), "2D", 3400, 77, 90, None, ("FS", "PFP"), "", thick=True),
    )  # fmt: skip
    add(
        "localizer",
        Header("AAHead_Scout", ("ORIGINAL", "PRIMARY", "M", "ND", "NORM"), ("GR",), ("SP", "OSP"),
               "2D", 8.6, 4, 20, None, ("PFP",), "*fl2d1", thick=True),
        Header("3-pl T2* FGRE Loc", _ORIGINAL["ge"], ("GR",), ("SS", "SP"), "2D", 5.5, 1.7, 30,
               None, ("FAST_GEMS",), "", thick=True),
        Header("Survey_SHC", _ORIGINAL["philips"], ("GR",), ("SP",), "2D", 11, 4.6, 20, None,
               ("OTHER",), "", thick=True),
    )  # fmt: skip
    add(
        "mip",
        Header("TOF_3D_multi-slab_MIP_TRA", ("DERIVED", "SECONDARY", "MIP", "ND", "NORM"), ("GR",),
               ("SP", "OSP"), "3D", 21, 3.4, 18, None, ("TOF",), "*fl3d1r"),
        Header("COL:Ax 3D TOF MIP", ("DERIVED", "SECONDARY", "MPR", "VOLREN", "MIP"), ("GR",),
               ("SS", "SP"), "3D", 24, 2.7, 15, None, ("FLOWCOMP_GEMS",), ""),
        Header("MIP s3DI_MC_HR", ("DERIVED", "SECONDARY", "PROJECTION IMAGE", "M", "FFE"), ("GR",),
               ("SP",), "3D", 25, 3.5, 20, None, ("FC",), ""),
    )  # fmt: skip
    add(
        "swi",
        Header("SWI_Images", ("ORIGINAL", "PRIMARY", "M", "SWI", "NORM"), ("GR",), ("SP",), "3D",
               28, 20, 15, None, ("PFP",), "*swi3d1r"),
        Header("Ax SWAN", _ORIGINAL["ge"], ("GR",), ("SS", "SP", "SK"), "3D", 39, 24, 15, None,
               ("FLOWCOMP_GEMS",), ""),
        Header("SWIp", _ORIGINAL["philips"], ("GR",), ("SS",), "3D", 31, 7.2, 17, None, ("FC",),
               ""),
    )  # fmt: skip
    add(
        "subtraction",
        Header("t1_mprage_sag_SUB", ("DERIVED", "PRIMARY", "M", "SUB", "NORM"), ("GR", "IR"),
               ("SK", "SP", "MP"), "3D", 2300, 2.32, 8, 900, ("IR", "PFP"), "*tfl3d1_16ns",
               contrast_agent="Gadovist", plane="sagittal"),
        Header("SUB: Sag T1 BRAVO +C", ("DERIVED", "SECONDARY", "COMBINED"), ("GR",),
               ("SS", "SP", "SK"), "3D", 8.2, 3.2, 12, None, ("FAST_GEMS",), "",
               contrast_agent="DOTAREM", plane="sagittal"),
        Header("sSUB T1 TFE", ("DERIVED", "SECONDARY", "SUBTRACTION", "M", "FFE"), ("GR",),
               ("MP",), "3D", 8.1, 3.7, 8, None, ("FC",), "",
               contrast_agent="GADOLINIUM", plane="sagittal"),
    )  # fmt: skip
    return table


_TABLE = _series()
CONTRASTS = tuple(_TABLE["siemens"])


def header_of(vendor: str, contrast: str) -> Header:
    """The header of a contrast as a vendor writes it."""
    return _TABLE[vendor][contrast]
