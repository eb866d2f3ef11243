//! `systoliq energy-table`: what each event costs, and whence.

use std::path::PathBuf;

use anyhow::anyhow;
use clap::Args;
use serde_json::json;
use systoliq_energy::{PricedAt, Profile, Provenance};

use super::gemm::json;
use super::table::Columns;
use crate::failure::Failure;
use crate::load;

/// What each event costs at given widths, how sure that is, and whence.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  systoliq energy-table
  systoliq energy-table --bits 4,8,16 --accumulator 24
  systoliq energy-table --profile nangate45 --scratchpad-bytes 8192 --row 16
  systoliq energy-table --profile horowitz45 --node 22 --json
  systoliq energy-table --profile my-profile.json

Profiles: horowitz45 (published operations, 45 nm), nangate45 and nangate45-glitch (gate-level
synthesis), tpuv4i-7 (7 nm), eyeriss-rel (relative to a multiply-accumulate of 16 bits), or a JSON
file in the schema that `systoliq schema energy` prints.")]
pub struct EnergyTableCommand {
    /// An energy profile by name, or its JSON file.
    #[arg(long, default_value = "horowitz45")]
    profile: String,

    /// Scales a profile of 45 nm to another node, 7 to 130 nm.
    #[arg(long, value_name = "NM")]
    node: Option<f64>,

    /// Widths of operands.
    #[arg(long, value_delimiter = ',', default_values_t = PricedAt::default().bits,
        value_parser = clap::value_parser!(u32).range(1..=64))]
    bits: Vec<u32>,

    /// Width of accumulators.
    #[arg(long, value_name = "BITS", default_value_t = PricedAt::default().accumulator_bits,
        value_parser = clap::value_parser!(u32).range(1..=64))]
    accumulator: u32,

    /// From one PE to the next, in micrometres.
    #[arg(long, value_name = "UM", default_value_t = PricedAt::default().pitch_um)]
    pitch: f64,

    /// Bytes of a scratchpad.
    #[arg(long, value_name = "BYTES", default_value_t = PricedAt::default().scratchpad_bytes)]
    scratchpad_bytes: u64,

    /// Elements in a row of the scratchpad.
    #[arg(long, value_name = "N", default_value_t = PricedAt::default().row_elements,
        value_parser = clap::value_parser!(u32).range(1..=1024))]
    row: u32,

    /// Prints JSON instead of text.
    #[arg(long)]
    json: bool,
}

impl EnergyTableCommand {
    /// The table.
    pub fn run(&self) -> Result<String, Failure> {
        if !(0.0..=1e6).contains(&self.pitch) {
            let problem = "expected 0 to 1000000 micrometres";
            return Err(Failure::input(anyhow!("--pitch {}: {problem}", self.pitch)));
        }
        let mut profile = profile(&self.profile)?;
        if let Some(node) = self.node {
            let refused = |error| Failure::input(anyhow!("--node: {error}"));
            profile = profile.at_node(node).map_err(refused)?;
        }
        let rows = profile.provenance(&PricedAt {
            bits: self.bits.clone(),
            accumulator_bits: self.accumulator,
            pitch_um: self.pitch,
            scratchpad_bytes: self.scratchpad_bytes,
            row_elements: self.row,
        });
        let rows =
            rows.map_err(|error| Failure::input(anyhow!("--scratchpad-bytes, --row: {error}")))?;
        if self.json {
            let events: Vec<_> = rows.iter().map(in_json).collect();
            return json(&json!({
                "profile": profile.name(),
                "about": profile.about(),
                "node_nm": profile.node_nm(),
                "energy_unit": profile.unit(),
                "events": events,
            }));
        }
        Ok(text(&profile, &rows))
    }
}

/// The profile that `--profile` names.
pub(super) fn profile(named: &str) -> Result<Profile, Failure> {
    match Profile::named(named) {
        Some(profile) => Ok(profile),
        None if named.ends_with(".json") => load::profile(&PathBuf::from(named)),
        None => Err(Failure::input(anyhow!(
            "--profile {named}: expected one of {}, or a file that ends in .json",
            Profile::NAMES.join(", ")
        ))),
    }
}

fn in_json(row: &Provenance) -> serde_json::Value {
    let Provenance { event, widths, price, unit: _, certainty, source } = row;
    json!({
        "event": event,
        "at": widths,
        "energy": price,
        "certainty": certainty,
        "source": source,
    })
}

/// Events with their prices, then the sources that they refer to.
fn text(profile: &Profile, rows: &[Provenance]) -> String {
    let unit = profile.unit();
    let mut sources: Vec<&str> = Vec::new();
    let mut table = Columns::new(&["event", "at", &unit.to_string(), "certainty", "source"]);
    for Provenance { event, widths, price, certainty, source, .. } in rows {
        let number = sources.iter().position(|known| known == source).unwrap_or_else(|| {
            sources.push(source);
            sources.len() - 1
        });
        table.line([
            (*event).to_owned(),
            widths.clone(),
            format!("{:.5}", price.0),
            certainty.to_string(),
            format!("[{}]", number + 1),
        ]);
    }
    let mut text = format!(
        "{}, {} nm: {}\n\n{}\n",
        profile.name(),
        profile.node_nm(),
        profile.about(),
        table.text()
    );
    for (number, source) in sources.iter().enumerate() {
        text += &format!(" [{}] {source}\n", number + 1);
    }
    text
}
