//! How figures look: colours, the style sheets of a page and of a drawing by itself, and the script
//! that shows what is under the pointer.
//!
//! The first eight colours follow the palettes of M. Okabe and K. Ito, "Color universal design" (2008),
//! and of P. Tol, "Colour schemes" (SRON/EPS/TN/09-002, 2021), which stay apart for colour-blind
//! readers; the rest fills up stacks of many parts, so that no two are nearer to each other than the
//! test below allows. Lines also differ in their markers.

use std::fmt::Write as _;

/// What lies on what.
struct Theme {
    surface: &'static str,
    raised: &'static str,
    ink: &'static str,
    muted: &'static str,
    grid: &'static str,
    axis: &'static str,
    series: [&'static str; COLOURS],
}

/// How many colours there are; series beyond begin anew.
pub(crate) const COLOURS: usize = 13;

const LIGHT: Theme = Theme {
    surface: "#ffffff",
    raised: "#f6f6f4",
    ink: "#1a1a1a",
    muted: "#5c5c5c",
    grid: "#e4e4e2",
    axis: "#8a8a8a",
    series: [
        "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#332288", "#999933",
        "#853832", "#6c1212", "#4952ff", "#222222", "#777777",
    ],
};

const DARK: Theme = Theme {
    surface: "#16181b",
    raised: "#212429",
    ink: "#ececec",
    muted: "#a9adb3",
    grid: "#30343a",
    axis: "#7d8289",
    series: [
        "#4da6e0", "#f0803c", "#2fc79b", "#e39ac4", "#f2b632", "#8ccbf2", "#7a6cf0", "#bdbd55",
        "#9cff69", "#a33674", "#217d49", "#f4f4f4", "#8c8c8c",
    ],
};

/// From no loss to all of it, on cells of their own: light to dark blue.
pub(crate) const HEAT: [[f64; 3]; 3] = [[0.94, 0.96, 0.98], [0.42, 0.68, 0.84], [0.03, 0.19, 0.42]];

const FONT: &str = "'Helvetica Neue',Helvetica,Arial,sans-serif";

/// The rules of a drawing's parts.
fn drawing(theme: &Theme) -> String {
    let Theme { surface, ink, muted, grid, axis, .. } = theme;
    let mut css = format!(
        "svg.figure text{{fill:{ink};font-family:{FONT};font-size:12px}}\
         svg.figure .small{{font-size:11px}}\
         svg.figure .muted{{fill:{muted}}}\
         svg.figure .strong{{font-weight:600}}\
         svg.figure .surface{{fill:{surface}}}\
         svg.figure .grid{{stroke:{grid};stroke-width:1}}\
         svg.figure .axis{{stroke:{axis};stroke-width:1}}\
         svg.figure .rule{{stroke:{muted};stroke-width:1;stroke-dasharray:2 3}}\
         svg.figure .line{{fill:none;stroke-width:1.75;stroke-linejoin:round}}\
         svg.figure .dashed{{stroke-dasharray:5 3}}\
         svg.figure .whisker{{fill:none;stroke-width:1.25}}\
         svg.figure .edge{{stroke:{surface};stroke-width:.5}}\
         svg.figure .ring{{fill:none;stroke:{ink};stroke-width:1.5}}\
         svg.figure .faint{{opacity:.6}}\
         svg.figure .hollow{{fill:{surface};stroke-width:1.5}}\
         svg.figure .hit{{fill:none;stroke:none;pointer-events:all}}\
         svg.figure .frame{{fill:none;stroke-width:2}}\
         svg.figure .on-light{{fill:#1a1a1a}}\
         svg.figure .on-dark{{fill:#ffffff}}"
    );
    for (at, colour) in theme.series.iter().enumerate() {
        write!(css, "svg.figure .f{at}{{fill:{colour}}}svg.figure .l{at}{{stroke:{colour}}}")
            .expect("writing to a string");
    }
    css
}

/// The rules of the page around the drawings.
fn page(theme: &Theme) -> String {
    let Theme { surface, raised, ink, muted, grid, series, .. } = theme;
    let link = series[0];
    format!(
        "body{{background:{surface};color:{ink}}}a{{color:{link}}}\
         figcaption,dt,summary,.note{{color:{muted}}}\
         .facts div{{background:{raised}}}th,td{{border-color:{grid}}}\
         figure{{border-color:{grid}}}\
         #tip{{background:{ink};color:{surface}}}"
    )
}

const LAYOUT: &str = "\
*{box-sizing:border-box}\
body{margin:0 auto;padding:1.5rem 1rem 4rem;max-width:52rem;line-height:1.45;font-size:15px;\
font-family:'Helvetica Neue',Helvetica,Arial,sans-serif}\
h1{font-size:1.5rem;margin:0 0 .25rem;overflow-wrap:anywhere}h2{font-size:1.05rem;margin:0 0 .25rem}\
.note{margin:0 0 1rem;overflow-wrap:anywhere}\
.facts{display:grid;grid-template-columns:repeat(auto-fit,minmax(13rem,1fr));gap:.5rem;margin:1rem 0}\
.facts div{padding:.6rem .75rem;border-radius:4px}dt{font-size:.8rem}\
dd{margin:0;font-size:1.05rem;font-variant-numeric:tabular-nums;overflow-wrap:break-word}\
nav{font-size:.87rem;margin:0 0 1rem}nav a{margin-right:.9rem;display:inline-block}\
figure{margin:2rem 0 0;padding-top:1.25rem;border-top:1px solid}\
figcaption{font-size:.87rem;margin:0 0 .5rem}\
svg.figure{display:block;width:100%;min-width:36rem;height:auto}\
.wide{overflow-x:auto}\
summary{cursor:pointer;font-size:.87rem;margin-top:.4rem}\
table{border-collapse:collapse;font-size:.8rem;font-variant-numeric:tabular-nums;margin:.5rem 0}\
th,td{padding:.15rem .6rem;border-bottom:1px solid;text-align:right;white-space:nowrap}\
th{font-weight:600}th:first-child,td:first-child{text-align:left;padding-left:0}\
.mark:hover{filter:brightness(1.15)}\
#tip{position:fixed;display:none;pointer-events:none;padding:.35rem .55rem;border-radius:4px;\
font-size:.8rem;white-space:pre-line;max-width:24rem;z-index:1}";

const PAPER: &str = "\
@page{margin:15mm}\
@media print{body{max-width:none;padding:0;font-size:10pt}nav,details,#tip{display:none}\
svg.figure{min-width:0}\
figure{break-inside:avoid;margin-top:1rem}.facts div{border:1px solid #cccccc}}";

/// The style sheet of a page: light, dark where the reader prefers it, light on paper.
pub(crate) fn of_page() -> String {
    let [light, dark] = [LIGHT, DARK].map(|theme| page(&theme) + &drawing(&theme));
    format!(
        ":root{{color-scheme:light dark}}{LAYOUT}{light}\
         @media screen and (prefers-color-scheme:dark){{{dark}}}{PAPER}"
    )
}

/// The style sheet of a drawing by itself: light.
pub(crate) fn of_drawing() -> String {
    drawing(&LIGHT)
}

/// Shows the title of the mark under the pointer at once, in place of what browsers do after a while;
/// under a finger, too.
pub(crate) const SCRIPT: &str = "\
(function(){\
var tip=document.getElementById('tip');\
document.querySelectorAll('.mark').forEach(function(mark){\
var title=mark.querySelector('title');\
if(!title){return}\
mark.setAttribute('data-told',title.textContent);\
mark.removeChild(title);\
var show=function(event){\
tip.textContent=mark.getAttribute('data-told');\
tip.style.display='block';\
var x=Math.min(event.clientX+14,window.innerWidth-tip.offsetWidth-8);\
var y=Math.min(event.clientY+14,window.innerHeight-tip.offsetHeight-8);\
tip.style.left=Math.max(x,4)+'px';\
tip.style.top=Math.max(y,4)+'px'};\
mark.addEventListener('pointermove',show);\
mark.addEventListener('pointerdown',show);\
mark.addEventListener('pointerleave',function(event){\
if(event.pointerType==='mouse'){tip.style.display='none'}})});\
document.addEventListener('pointerdown',function(event){\
if(!event.target.closest('.mark')){tip.style.display='none'}});\
document.addEventListener('keydown',function(event){\
if(event.key==='Escape'){tip.style.display='none'}})\
})();";

#[cfg(test)]
mod tests {
    use super::*;

    /// How dichromats see a colour of linear light: G. Machado, M. Oliveira, L. Fernandes, IEEE TVCG 15(6),
    /// 2009, severity 1; after the identity, protanopia, deuteranopia, tritanopia.
    const SEEN: [[[f64; 3]; 3]; 4] = [
        [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
        [
            [0.152_286, 1.052_583, -0.204_868],
            [0.114_503, 0.786_281, 0.099_216],
            [-0.003_882, -0.048_116, 1.051_998],
        ],
        [
            [0.367_322, 0.860_646, -0.227_968],
            [0.280_085, 0.672_501, 0.047_413],
            [-0.011_820, 0.042_940, 0.968_881],
        ],
        [
            [1.255_528, -0.076_749, -0.178_779],
            [-0.078_411, 0.930_809, 0.147_602],
            [0.004_733, 0.691_367, 0.303_900],
        ],
    ];

    fn times(matrix: &[[f64; 3]; 3], vector: [f64; 3]) -> [f64; 3] {
        matrix.map(|row| row.iter().zip(vector).map(|(a, b)| a * b).sum())
    }

    /// Linear light of a colour such as `#0072b2`.
    fn linear(colour: &str) -> [f64; 3] {
        [1, 3, 5].map(|at| {
            let byte = u8::from_str_radix(&colour[at..at + 2], 16).unwrap();
            let value = f64::from(byte) / 255.0;
            if value <= 0.040_45 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
        })
    }

    /// CIELAB under D65.
    fn lab(light: [f64; 3]) -> [f64; 3] {
        const XYZ: [[f64; 3]; 3] =
            [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]];
        let white = [0.9505, 1.0, 1.089];
        let [x, y, z] = times(&XYZ, light.map(|value| value.clamp(0.0, 1.0)));
        let root = |value: f64| {
            if value > 0.008_856 { value.cbrt() } else { 7.787 * value + 16.0 / 116.0 }
        };
        let [x, y, z] = [x / white[0], y / white[1], z / white[2]].map(root);
        [116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z)]
    }

    #[test]
    fn no_two_colours_look_alike_to_any_eye() {
        for theme in [LIGHT, DARK] {
            let lights = theme.series.map(linear);
            for seen in &SEEN {
                let all = lights.map(|light| lab(times(seen, light)));
                for a in 0..COLOURS {
                    for b in 0..a {
                        let apart = all[a].iter().zip(all[b]).map(|(a, b)| (a - b) * (a - b));
                        let apart = apart.sum::<f64>().sqrt();
                        let pair = [theme.series[a], theme.series[b]];
                        assert!(apart > 9.0, "{pair:?} are {apart:.1} apart");
                    }
                }
            }
        }
    }
}
