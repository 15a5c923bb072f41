"""Everyday names; each line is a modality, ``-`` where the name is nobody's, and the name."""

NAMES = """
t1 | T1.nii.gz
t1 | sub_t1w.nii
t1 | BraTS-PED-00001-000-t1n.nii.gz
t1 | mprage
t1 | AX_T1
t1 | T1_20240101
t1 | T1_pre
t1 | T1-precontrast
t1 | T1 pre contrast
t1 | T1_noC
t1 | T1_nativ
t1 | native_T1
t1 | T1 plain
t1 | T1 without contrast
t1 | no_contrast_T1
t1 | T1 w/o contrast
t1 | T1_wo
t1 | T1 ohne KM
t1 | nonenhanced_T1
t1 | t1_to_mni
t1 | t1_brain
t1 | sub-01_ses-02_T1w
t1 | sub-01_run-1_T1w
t1 | sub-01_desc-preproc_T1w
t1 | sub-T2_T1w
t1 | patient_c_t1
t1c | t1c
t1c | sub_t1ce
t1c | T1_Gd
t1c | T1-post
t1c | T1_CE
t1c | T1+C
t1c | T1 + C
t1c | T1 C+
t1c | T1 KM
t1c | T1 mit KM
t1c | AX_T1_POST
t1c | brain_T1_post_gado
t1c | ce-gadolinium_T1w
t1c | sub-01_ce-gadolinium_T1w
t1c | sub-01_acq-post_T1w
t1c | T1wce
t1c | t1gado
t1c | T1w_contrast-enhanced
t1c | mprage_gd
t1c | t1ce_mprage
t1c | T1-C
flair | FLAIR
flair | T2_FLAIR
flair | flair_t2
flair | t2f
flair | FLAIR post contrast
flair | t2_tirm_dark-fluid
flair | sub-01_acq-T2sel_FLAIR
t2 | T2
t2 | T2w
t2 | T2_gd
t2 | sub-01_T2w
dwi | dwi_b1000
dwi | trace
adc | ADC
adc | ADC_map
pd | PDw
mra | TOF
mra | mra_tof
t1ir | T1-IR
t1ir | sub-01_IRT1
- | t1_reg_to_flair
- | sub-01_T2w_space-T1w
- | sub-01_space-T1w_T2w
- | FLAIR_T1
- | FLAIR_to_T1
- | t2_in_flair_space
- | t1_t1c
- | T1_pre_post
- | pd+t2
- | dwi_adc
- | t1_seg
- | T1_label
- | T1_brain_mask
- | flair_lesion
- | sub-01_dseg
- | sub-01_label-lesion_mask
- | T1_post_op
- | T1_post_RT
- | T1_sub
- | T1_subtraction
- | T1_diff_map
- | T1_map
- | t1map
- | T2*
- | T2star
- | t2_star
- | T2_GRE
- | SWI
- | perf
- | T1_dsc
- | dwi_b0
- | eADC
- | exp_ADC
- | DTI
- | MRA_CE
- | t1ce_without_contrast
- | image
"""
ROWS = [tuple(line.split(" | ")) for line in NAMES.strip().splitlines()]
