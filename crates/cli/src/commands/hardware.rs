//! Area, peak and efficiency, as lines for a person.

use systoliq_hardware::efficiency::HardwareReport;

use super::table::scaled;

/// Two or three lines.
pub(super) fn text(report: &HardwareReport) -> String {
    let HardwareReport { profile, node_nm, area, area_mm2, peak_tops, tops, .. } = report;
    let memories = area.memories_um2();
    let mm2 = |um2: f64| format!("{:.4}", um2 / 1e6);
    let mut text = format!(
        " {area_mm2:.3} mm2 ({profile}, {node_nm} nm): PEs {} of {:.0} um2 each, edge {}, vector unit {}, \
         scratchpads {}; leaks {:.2} mW\n",
        mm2(area.array_um2),
        area.pe_um2,
        mm2(area.edge_um2),
        mm2(area.vector_um2),
        mm2(memories),
        area.leakage.0,
    );
    let operations =
        |tops: f64| scaled(tops * 1e12, &[("Mop/s", 1e6), ("Gop/s", 1e9), ("Top/s", 1e12)]);
    text += &format!(" {} of {} at peak", operations(*tops), operations(*peak_tops));
    if let (Some(peak), Some(reached)) = (report.peak_tops_per_watt, report.tops_per_watt) {
        text += &format!("; {reached:.3} Top/J in all, {peak:.2} Top/J of busy PEs alone");
    }
    if let Some(product) = report.energy_delay_js {
        text += &format!("; energy x time {product:.3e} J s");
    }
    text += "\n";
    if *node_nm < 45.0 {
        text += " below 45 nm scratchpads leak by CACTI's figures, several times those of 45 nm: compare ratios, \
                 not nodes\n";
    }
    text
}
