//! Claims: each word is said when it is right, and not otherwise.

use super::*;

/// Seeds 1, 2, 3, … with so many samples that golden, and fixed point, alone get right.
pub(super) fn seeds(counts: &[(u64, u64)]) -> Vec<SeedLoss> {
    let seed = |(at, &(only_golden_right, only_fixed_right))| SeedLoss {
        seed: at as u64 + 1,
        only_golden_right,
        only_fixed_right,
        diverged: false,
    };
    counts.iter().enumerate().map(seed).collect()
}

/// Half a point of 300 samples.
fn judged(counts: &[(u64, u64)]) -> Judgement {
    Judgement::new(seeds(counts), Vec::new(), 300, MARGIN, Level::Once).unwrap()
}

/// `count` seeds that lose 0 or 1 sample in turn.
fn steady(count: usize) -> Vec<(u64, u64)> {
    (0..count).map(|at| (at as u64 % 2, 0)).collect()
}

#[test]
fn two_equal_seeds_confirm_nothing() {
    let judgement = judged(&[(3, 3), (3, 3)]);
    assert_eq!(judgement.verdict, DropVerdict::CannotTell);
    assert_eq!(words::lost(&judgement), "+0.00 +- 1.22 points on these 300 samples");
    let said = words::verdict(&judgement);
    assert_eq!(
        said,
        "cannot tell on these 2 seeds whether within 0.50 points: 11 seeds like them would"
    );
}

#[test]
fn within_speaks_of_the_seeds_trained_and_says_how_many_may_fail() {
    let judgement = judged(&steady(5));
    assert_eq!(judgement.verdict, DropVerdict::Within);
    assert_eq!(
        words::verdict(&judgement),
        "within 0.50 points on these 5 seeds; up to 45 % of seeds may fail"
    );
    assert_eq!(words::failures(&judgement), "no seed of 5 fails; up to 45 % may");
    assert_eq!(words::extremes(&judgement), "worst +0.33 points (seed 2), median +0.00");
}

#[test]
fn confirmed_needs_29_seeds_none_of_which_fails() {
    assert_eq!(judged(&steady(28)).verdict, DropVerdict::Within);
    let judgement = judged(&steady(29));
    assert_eq!(judgement.verdict, DropVerdict::Confirmed);
    assert_eq!(
        words::verdict(&judgement),
        "confirmed: within 0.50 points on these 29 seeds, none of which fails; up to 10 % may"
    );
    // One that loses 3 points with 9 discordant samples; the mean is still within.
    let mut counts = steady(116);
    counts[7] = (9, 0);
    let unlucky = judged(&counts);
    assert!(unlucky.failing.is_empty() && unlucky.verdict == DropVerdict::Confirmed);
    counts[7] = (10, 0);
    let failing = judged(&counts);
    assert_eq!((failing.verdict, &failing.failing[..]), (DropVerdict::Within, &[8][..]));
    assert_eq!(
        words::verdict(&failing),
        "within 0.50 points on these 116 seeds by their mean, but 1 of them fails; up to 4 % of seeds \
         may fail"
    );
    assert_eq!(words::failures(&failing), "1 seed of 116 fails; up to 4 % may");
}

#[test]
fn beyond_is_said_where_the_whole_interval_is() {
    assert_eq!(words::verdict(&judged(&[(12, 2); 10])), "beyond 0.50 points on these 10 seeds");
    assert_eq!(judged(&[(4, 0), (6, 2)]).verdict, DropVerdict::CannotTell);
}

#[test]
fn a_seed_fails_beyond_the_margin_two_points_and_what_its_samples_explain() {
    let fails = |b, c, margin| seeds(&[(b, c)])[0].fails(300, margin);
    // 3·√(b + c) samples: of 9 and 10 discordant ones, 9 and 9.49.
    assert!(!fails(9, 0, 0.005) && fails(10, 0, 0.005));
    // 6 % are 18 discordant samples, by which 12.7 are lost by chance.
    assert!(!fails(15, 3, 0.005) && fails(18, 0, 0.005));
    assert!(!fails(15, 0, 0.05) && fails(16, 0, 0.05));
    // Of 10,000 samples, 2 points are more than 3·√(b + c).
    let many = |b, c| seeds(&[(b, c)])[0].fails(10_000, 0.005);
    assert!(!many(200, 0) && many(201, 0));
    let diverged = SeedLoss { diverged: true, ..seeds(&[(0, 0)])[0] };
    assert!(diverged.fails(300, 0.005));
}

#[test]
fn a_diverged_seed_counts_with_what_it_lost_and_one_without_a_reference_is_left_out() {
    let mut by_seed = seeds(&steady(29));
    by_seed[4] = SeedLoss { seed: 5, only_golden_right: 270, only_fixed_right: 0, diverged: true };
    let judgement = Judgement::new(by_seed, vec![40], 300, MARGIN, Level::Once).unwrap();
    assert!((judgement.mean - (270.0 + 14.0) / 29.0 / 300.0).abs() < 1e-12);
    assert_eq!(judgement.verdict, DropVerdict::CannotTell);
    assert_eq!(words::extremes(&judgement), "worst +90.00 points (seed 5, diverged), median +0.33");
    let said = words::left_out("golden", &judgement.golden_diverged).unwrap();
    assert_eq!(said, "golden diverged with seed 40, which is left out");
    assert_eq!(Judgement::new(Vec::new(), vec![1, 2], 300, MARGIN, Level::Once), None);
    assert_eq!(words::left_out("golden", &[]), None);
}

#[test]
fn one_seed_speaks_of_its_samples() {
    let judgement = judged(&[(0, 0)]);
    assert_eq!(words::lost(&judgement), "+0.00 +- 0.65 points on samples like these 300");
    assert_eq!(
        words::verdict(&judgement),
        "cannot tell on this one seed whether within 0.50 points: 393 samples like these 300 would"
    );
    let many = Judgement::new(seeds(&[(0, 0)]), Vec::new(), 393, MARGIN, Level::Once).unwrap();
    assert_eq!(
        words::verdict(&many),
        "within 0.50 points on this one seed; up to 95 % of seeds may fail"
    );
    let at = |counts| Judgement::new(seeds(counts), Vec::new(), 1000, MARGIN, Level::Once).unwrap();
    let said = words::verdict(&at(&[(5, 0)]));
    assert!(said.ends_with("within 0.50 points: more samples would not, more seeds may"), "{said}");
    let said = words::verdict(&at(&[(5, 0), (5, 0)]));
    assert!(said.ends_with("neither 1,000 seeds nor more samples like these would"), "{said}");
}

#[test]
fn one_seed_that_fails_is_said_to() {
    let of = |counts, margin, diverged| {
        let seed = SeedLoss { diverged, ..seeds(&[counts])[0] };
        Judgement::new(vec![seed], Vec::new(), 300, margin, Level::Once).unwrap()
    };
    let said = |counts, margin, diverged| words::verdict(&of(counts, margin, diverged));
    assert_eq!(said((60, 2), 0.005, false), "beyond 0.50 points on this one seed, which fails");
    assert_eq!(
        said((1, 0), 0.5, true),
        "within 50.00 points on this one seed, which fails; up to 100 % of seeds may"
    );
    let open = said((1, 0), 0.005, true);
    assert!(
        open.starts_with("cannot tell on this one seed, which fails, whether within 0.50 points: "),
        "{open}"
    );
}

#[test]
fn no_width_and_no_margin_is_rounded_to_nothing() {
    // 2.7764 · √(1/(6 · 23,000²)/5), and z/23,000 for new samples, of which none differs.
    let of = |samples| Judgement::new(seeds(&[(0, 0); 5]), vec![], samples, 0.005, Level::Once);
    assert_eq!(
        words::lost(&of(23_000).unwrap()),
        "+0.0000 +- 0.0022 points on these 23000 samples"
    );
    let judgement = of(100).unwrap().against(0.000_04);
    assert!(words::verdict(&judgement).contains("within 0.0040 points"));
    assert_eq!(words::margin(0.0), "0.00 points");
}

#[test]
fn looks_go_on_until_they_are_decided() {
    let cannot_tell = judged(&[(3, 3), (3, 3)]);
    assert_eq!(looks::next(None, 0), Some(29));
    assert_eq!(looks::next(Some(&cannot_tell), 29), Some(58));
    assert_eq!(looks::next(Some(&cannot_tell), 58), Some(116));
    assert_eq!(looks::next(Some(&cannot_tell), 116), None);
    assert_eq!(looks::next(Some(&judged(&steady(29))), 29), None);
}

#[test]
fn a_judgement_survives_its_text() {
    for counts in [&[(3, 3), (3, 3)][..], &steady(29)] {
        let judgement = judged(counts);
        let text = serde_json::to_string(&judgement).unwrap();
        assert_eq!(serde_json::from_str::<Judgement>(&text).unwrap(), judgement);
    }
}
