//! Conclusions and sentences of panels that are made up.

use super::conclusion::{Answer, Claim, Conclusion};
use super::*;

/// A panel over axes of these names and values, on which something is concluded of each machine.
fn panel(
    axes: &[(&str, &[&str])],
    claim: Claim,
    conclude: impl Fn(&[usize]) -> Option<(&'static str, f64)>,
) -> MachinePanel {
    let axis = |(name, values): &(&str, &[&str])| MachineAxis {
        name: (*name).to_owned(),
        values: values.iter().map(|&value| value.to_owned()).collect(),
    };
    let axes: Vec<MachineAxis> = axes.iter().map(axis).collect();
    let sizes: Vec<usize> = axes.iter().map(|axis| axis.values.len()).collect();
    let answers: Vec<Option<Answer>> = (0..sizes.iter().product())
        .map(|number| {
            let (answer, figure) = conclude(&values(&sizes, number))?;
            Some(Answer { answer: answer.to_owned(), figure })
        })
        .collect();
    let machines = answers.iter().flatten().count();
    let panel = MachinePanel {
        own: 0,
        machines,
        left_out: answers.len() - machines,
        within: None,
        without_points: Vec::new(),
        untrained: Vec::new(),
        conclusions: Conclusion::new(claim, &sizes, &answers, 0).into_iter().collect(),
        swings: Vec::new(),
        without_range: 0,
        axes,
    };
    assert_eq!(panel.check(), Ok(()));
    panel
}

const MACHINES: [(&str, &[&str]); 3] = [
    ("DRAM", &["LPDDR4", "DDR4", "HBM2"]),
    ("buffer", &["no buffer", "a 64 KB buffer", "a buffer for all (52 KB)"]),
    ("profile", &["horowitz45", "nangate45", "nangate45-glitch", "tpuv4i-7", "planted"]),
];

/// What is said of whether less energy is taken than float32 hardware takes.
fn said(ratio: impl Fn(&[usize]) -> Option<f64>) -> String {
    let less = |ratio: f64| (if ratio > 1.0 { "less" } else { "no less" }, ratio);
    let panel = panel(&MACHINES, Claim::LessThanFloat32, |machine| ratio(machine).map(less));
    words::sentence(&panel, &panel.conclusions[0])
}

#[test]
fn a_flip_is_named_by_the_values_that_it_depends_on() {
    let what = "less energy than float32 hardware takes: holds in ";
    let alike = said(|_| Some(2.0));
    assert_eq!(alike, format!("{what}45 of 45 (2.00 times as much)"));
    for (is_flip, count, wherever) in [
        ((|m| m[2] == 4) as fn(&[usize]) -> bool, 9, "with planted"),
        (|m| m[0] == 2 && m[1] == 0, 5, "with HBM2 and no buffer"),
        (|m| m[1] != 0, 30, "with any buffer"),
        (|m| m[0] != 0 && m[2] == 4, 6, "with any DRAM but LPDDR4 and planted"),
        (|m| m[2] == 1 || m[2] == 2, 18, "with nangate45 or nangate45-glitch"),
        (
            |m| m[1] == 0 && (m[2] == 1 || m[2] == 3),
            6,
            "with no buffer and (nangate45 or tpuv4i-7)",
        ),
        (|m| m[0] == 2 && m[1] == 0 && m[2] == 4, 1, "with HBM2 and no buffer and planted"),
        (
            |m| (m[0] == 2 && m[1] == 1) || m[2] == 4,
            13,
            "with planted, or with HBM2 and a 64 KB buffer",
        ),
    ] {
        let found = said(|machine| Some(if is_flip(machine) { 0.5 } else { 2.0 }));
        let holds = 45 - count;
        let expected = format!(
            "{what}{holds} of 45 (2.00 times as much); false {wherever} ({count}: 0.50 times as much)"
        );
        assert_eq!(found, expected);
    }
}

#[test]
fn machines_that_are_not_priced_are_neither_counted_nor_described() {
    // Without nangate45 and DDR4 with no buffer, what is true of HBM2 alone is said so.
    let found = said(|machine| match machine {
        [_, _, 1] | [1, 0, _] => None,
        [2, ..] => Some(0.9),
        _ => Some(1.2),
    });
    assert_eq!(
        found,
        "less energy than float32 hardware takes: holds in 20 of 32 (1.20 times as much); \
         false with HBM2 (12: 0.90 times as much)"
    );
}

#[test]
fn what_is_concluded_elsewhere_is_that_of_each_machine_exhaustively() {
    let axes: [(&str, &[&str]); 3] =
        [("DRAM", &["a", "b"]), ("buffer", &["c", "d"]), ("profile", &["e", "f"])];
    let answers = ["master", "weights", "gradients"];
    for case in 0..3_usize.pow(8) {
        let of = |machine: &[usize]| {
            let number = machine.iter().fold(0, |number, at| 2 * number + at);
            case / 3_usize.pow(number as u32) % 3
        };
        let figure = |machine: &[usize]| of(machine) as f64 + 0.25 * machine[2] as f64;
        let panel = panel(&axes, Claim::BitWorthMost, |machine| {
            Some((answers[of(machine)], figure(machine)))
        });
        let [conclusion] = &panel.conclusions[..] else { panic!("one conclusion") };
        let machines: Vec<Vec<usize>> = (0..8).map(|number| values(&[2, 2, 2], number)).collect();
        let mut counted = conclusion.holds;
        for machine in &machines {
            assert_eq!(conclusion.answer_on(machine), answers[of(machine)], "{case}: {machine:?}");
        }
        let ours = (&conclusion.answer, conclusion.holds, conclusion.between);
        let flips = conclusion.flips.iter().map(|flip| (&flip.answer, flip.machines, flip.between));
        for (answer, count, between) in [ours].into_iter().chain(flips) {
            let of: Vec<f64> = machines
                .iter()
                .filter(|machine| answers[of(machine)] == *answer)
                .map(|machine| figure(machine))
                .collect();
            let [low, high] =
                [f64::min, f64::max].map(|end| of.iter().copied().reduce(end).unwrap());
            assert_eq!((count, between), (of.len(), [low, high]), "{case}: {answer}");
        }
        counted += conclusion.flips.iter().map(|flip| flip.machines).sum::<usize>();
        assert_eq!(counted, 8, "{case}");
    }
}

#[test]
fn panels_of_parts_that_do_not_fit_are_told() {
    let good = panel(&MACHINES, Claim::LeastDataflow, |machine| {
        Some(if machine[0] == 2 { ("ws", 1.0) } else { ("os", 1.1) })
    });
    let changed = |change: fn(&mut MachinePanel)| {
        let mut panel = good.clone();
        change(&mut panel);
        panel.check().unwrap_err()
    };
    assert!(changed(|panel| panel.own = 45).contains("own: 45"));
    assert!(changed(|panel| panel.machines = 44).contains("machines: "));
    assert!(changed(|panel| panel.axes[1].values.clear()).contains("axes: "));
    assert!(changed(|panel| panel.conclusions[0].figures.truncate(1)).contains("figures: 1"));
    let domain = |panel: &mut MachinePanel| panel.conclusions[0].flips[0].domain[0].0[0][0] = 3;
    assert!(changed(domain).contains("domain"));
}

#[test]
fn machines_on_which_little_is_at_stake_are_counted() {
    // Ratios of one profile are good to 15 %.
    let found = said(|machine| match machine {
        [2, 0, _] => Some(0.97),
        [2, ..] => Some(1.14),
        _ => Some(1.16),
    });
    assert_eq!(
        found,
        "less energy than float32 hardware takes: holds in 40 of 45 (1.14 to 1.16 times as much; in 10 by less \
         than 15 %); false with HBM2 and no buffer (5: 0.97 times as much)"
    );
}

#[test]
fn hardware_with_a_master_is_told_from_hardware_without_and_false_where_it_takes_no_more() {
    let less = |ratio: f64| (if ratio > 1.0 { "less" } else { "no less" }, ratio);
    let ratio = |machine: &[usize]| if machine[2] == 3 { 0.9 } else { 1.3 };
    let said = |claim: Claim| {
        let panel = panel(&MACHINES, claim, |machine| Some(less(ratio(machine))));
        words::sentence(&panel, &panel.conclusions[0])
    };
    let figures =
        "holds in 36 of 45 (1.30 times as much); false with tpuv4i-7 (9: 0.90 times as much)";
    assert_eq!(
        said(Claim::LessThanBfloat16Master),
        format!("less energy than bfloat16 hardware with a float32 master takes: {figures}")
    );
    assert_eq!(
        said(Claim::LessThanBfloat16),
        format!("less energy than bfloat16 hardware takes: {figures}")
    );
}

#[test]
fn what_corners_share_is_said_once_and_no_value_twice() {
    let wherever = |is_flip: &dyn Fn(&[usize]) -> bool| {
        let found = said(|machine| Some(if is_flip(machine) { 0.5 } else { 2.0 }));
        let (_, flip) = found.split_once("; false ").unwrap();
        flip.split_once(" (").map_or(flip, |_| &flip[..flip.rfind(" (").unwrap()]).to_owned()
    };
    // The corner of HBM2 needs no profile that is named already.
    assert_eq!(
        wherever(&|m| m[2] == 1 || m[2] == 2 || (m[0] == 2 && m[2] == 3)),
        "with nangate45 or nangate45-glitch, or with HBM2 and tpuv4i-7"
    );
    assert_eq!(
        wherever(&|m| m[1] == 2 && (m[0] == 1 || m[2] == 4)),
        "with a buffer for all and either with planted, or with DDR4"
    );
}

#[test]
fn of_many_corners_the_largest_are_said_and_the_machines_of_the_others_counted() {
    let digits: Vec<String> = (0..12).map(|digit| format!("d{digit}")).collect();
    let digits: Vec<&str> = digits.iter().map(String::as_str).collect();
    let axes = [("DRAM", &digits[..]), ("buffer", &digits[..])];
    let less = |is: bool| Some(if is { ("no less", 0.5) } else { ("less", 2.0) });
    let sentence = |corners: usize| {
        let on = |m: &[usize]| less(m[0] == m[1] && m[0] > 0 && m[0] <= corners);
        let panel = panel(&axes, Claim::LessThanFloat32, on);
        words::sentence(&panel, &panel.conclusions[0])
    };
    let named = |count: usize| {
        let corners: Vec<String> = (1..=count).map(|at| format!("with d{at} and d{at}")).collect();
        corners.join(", or ")
    };
    let (eight, ten) = (sentence(8), sentence(10));
    assert!(eight.contains(&format!("; false {} (8: ", named(8))), "{eight}");
    let more = format!("; false {}, or on 2 more, of which --tables has each (10: ", named(8));
    assert!(ten.contains(&more), "{ten}");
}

#[test]
fn batches_of_which_nothing_is_said_are_named() {
    let axes: [(&str, &[&str]); 2] =
        [("DRAM", &["LPDDR4", "DDR4"]), ("batch", &["batch 8", "batch 16", "batch 32"])];
    let with = |answers: &dyn Fn(&[usize]) -> bool| {
        let cheapest = |m: &[usize]| answers(m).then_some(("bits 4", 0.25));
        let mut found = panel(&axes, Claim::CheapestPoint, cheapest);
        let all = panel(&axes, Claim::LessThanFloat32, |_| Some(("less", 2.0)));
        (found.machines, found.left_out) = (6, 0);
        found.conclusions.extend(all.conclusions);
        found
    };
    let said = |panel: &MachinePanel| words::sentence(panel, &panel.conclusions[0]);
    let what = "bits 4 takes least energy: holds in ";
    let all = with(&|_| true);
    assert_eq!(said(&all), format!("{what}6 of 6 (25.0 % of float32's)"));
    assert!(!words::machines(&all).contains("without"), "{}", words::machines(&all));
    let mut without = with(&|m| m[1] == 0);
    without.without_points = vec![1, 2];
    assert_eq!(
        said(&without),
        format!(
            "{what}2 of 2 (25.0 % of float32's); with batch 16 or batch 32 no point loses so little"
        )
    );
    without.without_points = vec![2];
    assert_eq!(
        said(&without),
        format!(
            "{what}2 of 2 (25.0 % of float32's); with batch 32 no point loses so little; on 2 others \
             nothing is concluded"
        )
    );
    let ties = with(&|m| m[0] == 0);
    assert_eq!(
        said(&ties),
        format!("{what}3 of 3 (25.0 % of float32's); on 3 nothing is concluded")
    );
    let untrained = all.within("0.50 points".to_owned(), vec!["batch 64".to_owned()]);
    let machines = words::machines(&untrained);
    let expected = "; without batch 64, with which the cheapest point was not trained to its end";
    assert!(machines.ends_with(expected), "{machines}");
}

#[test]
fn ratios_near_1_are_not_said_to_be_1() {
    let said = [0.9985, 1.0, 1.004, 1.0075, 1.2345, 9.99, 9.996, 12.34].map(words::times);
    assert_eq!(said, ["0.9985", "1", "1.0040", "1.01", "1.23", "9.99", "10.0", "12.3"]);
}
