//! What came of it, as a page of Markdown and a plot beside it.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::Result;

use crate::Outcome;
use crate::sample::{QUANTITIES, Quantity, Sample};

const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 150.0;
const MARGIN: f64 = 40.0;

/// Writes both into the directory.
pub(crate) fn write(outcome: &Outcome, directory: &Path) -> Result<()> {
    fs::create_dir_all(directory)?;
    fs::write(directory.join("soak.md"), page(outcome)?)?;
    fs::write(directory.join("soak.svg"), plot(&outcome.samples)?)?;
    println!("{}", directory.join("soak.md").display());
    Ok(())
}

fn page(outcome: &Outcome) -> Result<String> {
    let mut text = String::new();
    let Outcome { live, cycles, beside, machine, .. } = outcome;
    writeln!(text, "# Soak\n")?;
    writeln!(text, "`make soak` on {machine}.\n")?;
    writeln!(
        text,
        "{live} attachments live at once, then {cycles} times attached and detached beside {beside} others.\n"
    )?;
    writeln!(text, "![what the service takes, over the cycles](soak.svg)\n")?;
    writeln!(text, "| | first | last | growth by the slope | allowed |")?;
    writeln!(text, "| --- | ---: | ---: | ---: | ---: |")?;
    for quantity in QUANTITIES {
        let Quantity { name, of, allowance } = quantity;
        let (first, last) = outcome.ends();
        let growth = outcome.growth(&quantity);
        writeln!(text, "| {name} | {} | {} | {growth:.1} | {allowance} |", of(first), of(last))?;
    }
    let [none, many] = outcome.attach.map(|time| time.as_micros());
    let ratio = outcome.attach_ratio();
    writeln!(text)?;
    writeln!(
        text,
        "- An attach took {none} µs with none attached and {many} µs with {live} (medians): {ratio:.2} times as long."
    )?;
    let [early, late] = outcome.processor_time_per_cycle();
    writeln!(
        text,
        "- Processor time of the service for a cycle: {early:.2} ms in the first half, {late:.2} ms in the second."
    )?;
    let took = outcome.took.as_secs_f64();
    writeln!(text, "- The cycles took {took:.0} s.")?;
    writeln!(
        text,
        "- Memory before anything was attached {} KiB, with {live} attached {} KiB, with none again {} KiB.",
        outcome.before.resident_kib, outcome.full.resident_kib, outcome.empty.resident_kib
    )?;
    writeln!(
        text,
        "- In the end there was no link, no element, no record and no descriptor more than in the beginning."
    )?;
    Ok(text)
}

fn plot(samples: &[Sample]) -> Result<String> {
    let mut svg = String::new();
    let rows = f64::from(u32::try_from(QUANTITIES.len().div_ceil(2))?);
    let (width, height) = (2.0 * WIDTH, rows * HEIGHT);
    writeln!(
        svg,
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="11">"#
    )?;
    writeln!(svg, r#"<rect width="{width}" height="{height}" fill="white"/>"#)?;
    for (position, quantity) in QUANTITIES.iter().enumerate() {
        let (column, row) = (u32::try_from(position % 2)?, u32::try_from(position / 2)?);
        let (left, top) = (f64::from(column) * WIDTH + MARGIN, f64::from(row) * HEIGHT + 24.0);
        let (inner, tall) = (WIDTH - 2.0 * MARGIN, HEIGHT - 50.0);
        let values: Vec<_> = samples.iter().map(quantity.of).collect();
        // From nothing, so that what is flat looks flat.
        let most = values.iter().copied().fold(1.0, f64::max) * 1.1;
        let end = samples.last().map_or(1.0, |sample| sample.cycle).max(1.0);
        let points: Vec<_> = samples
            .iter()
            .zip(&values)
            .map(|(sample, value)| {
                let x = left + inner * sample.cycle / end;
                format!("{x:.1},{:.1}", top + tall * (1.0 - value / most))
            })
            .collect();
        let bottom = top + tall;
        writeln!(svg, r#"<text x="{left}" y="{}">{}</text>"#, top - 6.0, quantity.name)?;
        writeln!(
            svg,
            r##"<path d="M{left},{top} V{bottom} H{}" fill="none" stroke="#888"/>"##,
            left + inner
        )?;
        writeln!(
            svg,
            r##"<polyline points="{}" fill="none" stroke="#06c" stroke-width="1.5"/>"##,
            points.join(" ")
        )?;
        writeln!(svg, r#"<text x="{left}" y="{}">0</text>"#, bottom + 13.0)?;
        writeln!(
            svg,
            r#"<text x="{}" y="{}" text-anchor="end">{end} cycles</text>"#,
            left + inner,
            bottom + 13.0
        )?;
        let last = values.last().copied().unwrap_or_default();
        writeln!(
            svg,
            r#"<text x="{}" y="{:.1}" text-anchor="end">{last}</text>"#,
            left + inner,
            top + tall * (1.0 - last / most) - 4.0
        )?;
    }
    svg.push_str("</svg>\n");
    Ok(svg)
}
