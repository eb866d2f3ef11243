//! What tensors are in training, with the rules of each role.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use systoliq_fxp::Rounding;

use crate::spec::{AsWritten, PrecisionSpec, ScaleKind, TensorSettings};

/// What a tensor is in training.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Samples as the first layer reads them.
    Input,
    /// Weights as the array reads them.
    Weights,
    /// Weights as the update writes them.
    Master,
    /// Biases.
    Bias,
    /// Outputs of hidden layers.
    Activations,
    /// Outputs of the last layer.
    Logits,
    /// Targets of a regression.
    Targets,
    /// Gradient of the loss with respect to the outputs, ∂d/∂ŷ.
    Error,
    /// Gradients with respect to pre-activations of hidden layers.
    Gradients,
    /// Gradients with respect to weights and biases.
    WeightGradients,
    /// What momentum has gathered of the gradients of weights or biases.
    Momentum,
    /// What the weights' format could not hold of the weights.
    Residual,
    /// The taps of the largest elements of pooling windows.
    Winners,
}

/// The rules of a role.
#[derive(Clone, Copy)]
pub(crate) struct RoleRules {
    /// The role's key in the `precision` section.
    name: &'static str,
    /// Whether tensors of this role are carried from step to step.
    outlasts_a_step: bool,
    /// Whether matrix products read it as an operand.
    pub(crate) is_operand: bool,
    /// What the `precision` section may leave out.
    pub(crate) defaults: RoleDefaults,
    /// What a `precision` section states of it.
    pub(crate) stated: fn(&PrecisionSpec) -> Option<&AsWritten<TensorSettings>>,
}

/// The defaults of a role; all saturate.
#[derive(Clone, Copy)]
pub(crate) struct RoleDefaults {
    pub(crate) bits: u32,
    pub(crate) frac: Option<i32>,
    pub(crate) scale: ScaleKind,
    pub(crate) rounding: Rounding,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 12] = [
        Self::Input,
        Self::Weights,
        Self::Master,
        Self::Bias,
        Self::Activations,
        Self::Logits,
        Self::Targets,
        Self::Error,
        Self::Gradients,
        Self::WeightGradients,
        Self::Momentum,
        Self::Residual,
    ];

    /// The table of rules.
    #[rustfmt::skip]
    pub(crate) fn rules(self) -> RoleRules {
        use Rounding::{NearestEven, Stochastic};
        use ScaleKind::{History, Initial, Static};
        type Stated = fn(&PrecisionSpec) -> Option<&AsWritten<TensorSettings>>;
        let (name, outlasts_a_step, is_operand, bits, frac, scale, rounding, stated): (_, _, _, _, _, _, _, Stated) = match self {
            //                     key                 outlasts operand bits frac      scale    rounding
            Self::Input           => ("input",            false, true,  8,  Some(7),  Static,  NearestEven, |spec| spec.input.as_ref()),
            Self::Weights         => ("weights",          true,  true,  8,  None,     Initial, NearestEven, |spec| spec.weights.as_ref()),
            Self::Master          => ("master",           true,  false, 16, None,     Initial, Stochastic,  |spec| spec.master.as_ref()),
            Self::Bias            => ("bias",             true,  false, 16, None,     Initial, Stochastic,  |spec| spec.bias.as_ref()),
            Self::Activations     => ("activations",      false, true,  8,  None,     History, NearestEven, |spec| spec.activations.as_ref()),
            Self::Logits          => ("logits",           false, false, 8,  None,     History, NearestEven, |spec| spec.logits.as_ref()),
            Self::Targets         => ("targets",          false, false, 16, Some(12), Static,  NearestEven, |spec| spec.targets.as_ref()),
            Self::Error           => ("error",            false, true,  8,  Some(6),  Static,  Stochastic,  |spec| spec.error.as_ref()),
            Self::Gradients       => ("gradients",        false, true,  8,  None,     History, Stochastic,  |spec| spec.gradients.as_ref()),
            Self::WeightGradients => ("weight_gradients", false, false, 16, None,     History, NearestEven, |spec| spec.weight_gradients.as_ref()),
            Self::Momentum        => ("momentum",         true,  false, 16, None,     History, NearestEven, |spec| spec.momentum.as_ref()),
            Self::Residual        => ("residual",         true,  false, 16, None,     Initial, Stochastic,  |spec| spec.residual.as_ref()),
            Self::Winners         => ("winners",          false, false, 8,  Some(0),  Static,  NearestEven, |_| None),
        };
        let defaults = RoleDefaults { bits, frac, scale, rounding };
        RoleRules { name, outlasts_a_step, is_operand, defaults, stated }
    }

    /// The role's key in the `precision` section.
    pub fn name(self) -> &'static str {
        self.rules().name
    }

    /// Whether tensors of this role are carried from step to step.
    pub fn outlasts_a_step(self) -> bool {
        self.rules().outlasts_a_step
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
