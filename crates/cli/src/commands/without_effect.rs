//! What an accelerator states that means nothing to products by themselves, one after another.

use systoliq_hardware::Accelerator;
use systoliq_hardware::accelerator::Residency;
use systoliq_hardware::accelerator::{Dependence, Toggles};

/// A warning for each setting that is read past; after the products of `training` come steps of weights.
pub(super) fn without_effect(accelerator: &Accelerator, training: bool) -> Vec<String> {
    let Accelerator { residency, activity, toggles, .. } = accelerator;
    let settings = [
        (
            *residency != Residency::default(),
            match training {
                false => {
                    "residency: it has no effect here: every product reads its operands from DRAM and \
                     writes its result there"
                }
                true => {
                    "residency: it keeps no more than gradients of weights for their steps: every product \
                     reads its operands from DRAM"
                }
            },
        ),
        (
            *activity != Dependence::default(),
            "activity: it has no effect here: sizes have no data, energy is that of average ones",
        ),
        (
            *toggles != Toggles::default(),
            "toggles: it has no effect here: sizes have no data whose bits could flip",
        ),
    ];
    let said = settings.into_iter().filter(|(stated, _)| *stated);
    said.map(|(_, warning)| warning.to_owned()).collect()
}
