"""Enhanced MR Image Storage: one object a series, with functional groups."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import nibabel as nib
import numpy as np
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import EnhancedMRImageStorage, generate_uid

from dicom_studies.classic import LPS, geometry
from dicom_studies.headers import Header

_CONTRAST = {"t1": "T1", "t2": "T2", "flair": "FLUID_ATTENUATED", "dwi": "DIFFUSION"}


def enhanced_image(
    common: Dataset, images: Sequence[nib.Nifti1Image], header: Header, vendor: str
) -> Dataset:
    """All slices of all volumes in one object; frames are ordered by b-value, then position."""
    ds = copy.deepcopy(common)
    ds.SOPClassUID = EnhancedMRImageStorage
    ds.InstanceNumber = 1
    flavour = _frame_type(header)
    _image(ds, header, flavour)
    if flavour[0] == "ORIGINAL":
        _pulse_sequence(ds, header)
    _dimensions(ds, bool(header.b_values))
    shared, plane = Dataset(), Dataset()
    geometry(plane, LPS @ images[0].affine, 0)
    _shared_geometry(shared, plane)
    _shared_sequence(shared, header, flavour)
    ds.SharedFunctionalGroupsSequence = [shared]
    frames, stacks = [], []
    b_values = header.b_values or (None,) * len(images)
    for volume, (image, b_value) in enumerate(zip(images, b_values, strict=True)):
        voxels = np.asarray(image.dataobj).astype(np.int16)
        for k in range(voxels.shape[2]):
            frames.append(_frame(LPS @ image.affine, k, volume, b_value))
            stacks.append(voxels[:, :, k].T)
    ds.PerFrameFunctionalGroupsSequence = Items(frames)
    ds.NumberOfFrames = len(frames)
    block = np.stack(stacks)
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows, ds.Columns = block.shape[1:]
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
    ds.PixelData = block.astype("<i2").tobytes()
    return ds


def _frame_type(header: Header) -> tuple[str, ...]:
    derived = header.image_type[0] == "DERIVED"
    text = header.description.lower()
    what = "NONE"
    if "adc" in text or "apparent" in text:
        what = "ADC"
    elif "mip" in text:
        what = "MAX_IP"
    elif "sub" in text:
        what = "SUBTRACTION"
    flavour = "DIFFUSION" if header.b_values or what == "ADC" else "VOLUME"
    return ("DERIVED" if derived else "ORIGINAL", "PRIMARY", flavour, what)


def _item(**attributes: object) -> list[Dataset]:
    item = Dataset()
    for keyword, value in attributes.items():
        setattr(item, keyword, value)
    return [item]


def _image(ds: Dataset, header: Header, flavour: tuple[str, ...]) -> None:
    ds.ImageType = list(flavour)
    ds.AcquisitionNumber = 1
    ds.AcquisitionDateTime = ds.AcquisitionDate + ds.AcquisitionTime
    ds.AcquisitionDuration = 200.0
    ds.ContentQualification = "RESEARCH"
    ds.ResonantNucleus, ds.MagneticFieldStrength = "1H", 3
    ds.KSpaceFiltering = "NONE"
    ds.ApplicableSafetyStandardAgency = "IEC"
    ds.ApplicableSafetyStandardDescription = "IEC 60601-2-33"
    ds.PixelPresentation, ds.VolumetricProperties = "MONOCHROME", "VOLUME"
    ds.VolumeBasedCalculationTechnique = "NONE"
    ds.ComplexImageComponent, ds.AcquisitionContrast = "MAGNITUDE", _acquisition_contrast(header)
    ds.BurnedInAnnotation, ds.LossyImageCompression = "NO", "00"
    ds.PresentationLUTShape = "IDENTITY"
    ds.AcquisitionContextSequence = []
    if flavour[3] in ("MAX_IP", "SUBTRACTION"):
        ds.VolumeBasedCalculationTechnique = flavour[3] if flavour[3] == "MAX_IP" else "NONE"


def _acquisition_contrast(header: Header) -> str:
    if header.b_values or "adc" in header.description.lower():
        return "DIFFUSION"
    if header.ti and header.ti > 1500:
        return "FLUID_ATTENUATED"
    if header.te > 60:
        return "T2"
    return "T1" if header.te < 6 else "UNKNOWN"


def _pulse_sequence(ds: Dataset, header: Header) -> None:
    gradient = "GR" in header.sequence
    ds.PulseSequenceName = header.sequence_name or header.description[:16]
    ds.MRAcquisitionType = header.acquisition
    ds.EchoPulseSequence = "GRADIENT" if gradient else "SPIN"
    if not gradient:
        ds.MultipleSpinEcho = "NO"
    ds.MultiPlanarExcitation = ds.PhaseContrast = "NO"
    ds.TimeOfFlightContrast = "YES" if "TOF" in header.description else "NO"
    ds.SteadyStatePulseSequence = "NONE"
    ds.EchoPlanarPulseSequence = "YES" if "EP" in header.sequence else "NO"
    ds.SaturationRecovery = "NO"
    ds.SpectrallySelectedSuppression = "NONE"
    ds.OversamplingPhase = "NONE"
    ds.GeometryOfKSpaceTraversal, ds.SegmentedKSpaceTraversal = "RECTILINEAR", "SINGLE"
    ds.RectilinearPhaseEncodeReordering = "LINEAR"
    ds.NumberOfKSpaceTrajectories = 1
    if header.acquisition == "3D":
        ds.CoverageOfKSpace = "FULL"


def _dimensions(ds: Dataset, diffusion: bool) -> None:
    organisation = generate_uid(entropy_srcs=[ds.SeriesInstanceUID, "dimensions"])
    ds.DimensionOrganizationSequence = _item(DimensionOrganizationUID=organisation)
    pointers = [(0x00209056, 0x00209111), (0x00209057, 0x00209111)]
    if diffusion:
        pointers.append((0x00189087, 0x00189117))
    ds.DimensionIndexSequence = [
        _item(
            DimensionOrganizationUID=organisation,
            DimensionIndexPointer=pointer,
            FunctionalGroupPointer=group,
        )[0]
        for pointer, group in pointers
    ]


def _shared_geometry(shared: Dataset, plane: Dataset) -> None:
    shared.PixelMeasuresSequence = _item(
        PixelSpacing=plane.PixelSpacing,
        SliceThickness=plane.SliceThickness,
        SpacingBetweenSlices=plane.SpacingBetweenSlices,
    )
    shared.PlaneOrientationSequence = _item(ImageOrientationPatient=plane.ImageOrientationPatient)


def _shared_sequence(shared: Dataset, header: Header, flavour: tuple[str, ...]) -> None:
    brain = _item(CodeValue="12738006", CodingSchemeDesignator="SCT", CodeMeaning="Brain")
    shared.FrameAnatomySequence = _item(FrameLaterality="U", AnatomicRegionSequence=brain)
    shared.PixelValueTransformationSequence = _item(
        RescaleIntercept="0", RescaleSlope="1", RescaleType="US"
    )
    shared.FrameVOILUTSequence = _item(WindowCenter="500", WindowWidth="1000")
    shared.MRImageFrameTypeSequence = _item(
        FrameType=list(flavour), PixelPresentation="MONOCHROME", VolumetricProperties="VOLUME",
        VolumeBasedCalculationTechnique="MAX_IP" if flavour[3] == "MAX_IP" else "NONE",
        ComplexImageComponent="MAGNITUDE", AcquisitionContrast=_acquisition_contrast(header),
    )  # fmt: skip
    shared.MRTimingAndRelatedParametersSequence = _item(
        RepetitionTime=header.tr, FlipAngle=header.flip, EchoTrainLength=1, RFEchoTrainLength=1,
        GradientEchoTrainLength=0,
        SpecificAbsorptionRateSequence=_item(
            SpecificAbsorptionRateDefinition="IEC_HEAD", SpecificAbsorptionRateValue=0.5
        ),
        GradientOutputType="DB_DT", GradientOutput=50.0,
        OperatingModeSequence=_item(
            OperatingModeType="STATIC FIELD", OperatingMode="IEC_NORMAL"
        ),
    )  # fmt: skip
    shared.MRFOVGeometrySequence = _item(
        InPlanePhaseEncodingDirection="ROW", MRAcquisitionFrequencyEncodingSteps=64,
        MRAcquisitionPhaseEncodingStepsInPlane=64, MRAcquisitionPhaseEncodingStepsOutOfPlane=32,
        PercentSampling=100.0, PercentPhaseFieldOfView=100.0,
    )  # fmt: skip
    shared.MREchoSequence = _item(EffectiveEchoTime=header.te)
    inverted = header.ti is not None
    modifier = _item(
        InversionRecovery="YES" if inverted else "NO", FlowCompensation="NONE", Spoiling="RF",
        T2Preparation="NO", SpectrallySelectedExcitation="NONE", SpatialPresaturation="NONE",
        PartialFourier="NO", ParallelAcquisition="NO",
    )  # fmt: skip
    if inverted:
        modifier[0].InversionTimes = [header.ti]
    shared.MRModifierSequence = modifier
    shared.MRImagingModifierSequence = _item(
        MagnetizationTransfer="NONE", BloodSignalNulling="NO", Tagging="NONE",
        TransmitterFrequency=123.2, PixelBandwidth=200.0,
    )  # fmt: skip
    coil = _item(
        ReceiveCoilName="HEAD", ReceiveCoilManufacturerName="", ReceiveCoilType="VOLUME",
        QuadratureReceiveCoil="YES",
    )  # fmt: skip
    shared.MRReceiveCoilSequence = coil
    shared.MRTransmitCoilSequence = _item(
        TransmitCoilName="BODY", TransmitCoilManufacturerName="", TransmitCoilType="BODY"
    )
    shared.MRAveragesSequence = _item(NumberOfAverages=1)


def _frame(affine: np.ndarray, k: int, volume: int, b_value: float | None) -> Dataset:
    plane, frame = Dataset(), Dataset()
    geometry(plane, affine, k)
    index = [1, k + 1] + ([volume + 1] if b_value is not None else [])
    frame.FrameContentSequence = _item(
        StackID="1", InStackPositionNumber=k + 1, DimensionIndexValues=index,
        FrameAcquisitionNumber=1, FrameAcquisitionDateTime="20240305101500",
        FrameReferenceDateTime="20240305101500", FrameAcquisitionDuration=200.0,
    )  # fmt: skip
    frame.PlanePositionSequence = _item(ImagePositionPatient=plane.ImagePositionPatient)
    if b_value is not None:
        frame.MRDiffusionSequence = _item(
            DiffusionBValue=float(b_value),
            DiffusionDirectionality="ISOTROPIC" if b_value else "NONE",
        )
    return frame
