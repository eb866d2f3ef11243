//! Which events a command takes.
use crate::{Error, Prepared};
/// Prices.
pub struct Prices;
impl Prices {
    /// Prices every event.
    pub fn new(_prepared: &Prepared) -> Result<Self, Error> {
        Ok(Self)
    }
}
