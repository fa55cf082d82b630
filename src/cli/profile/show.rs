//! `sla-planner profile show`.

use std::collections::BTreeSet;

use comfy_table::{Cell, CellAlignment, Table, presets};

use crate::profile::{Answer, EngineProfile, Outside};

/// Input lengths to answer for, tokens: from a chat turn to a whole book.
const LENGTHS: [f64; 11] =
    [128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0, 8192.0, 16_384.0, 32_768.0, 65_536.0, 131_072.0];
/// Batches to answer for, sequences.
const BATCHES: [f64; 10] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];
/// Contexts to answer for, tokens.
const CONTEXTS: [f64; 6] = [512.0, 2048.0, 4096.0, 8192.0, 16_384.0, 32_768.0];

/// Collects what answers outside the data assume, and marks them.
#[derive(Default)]
struct Notes(BTreeSet<String>);

impl Notes {
    fn mark(&mut self, answer: Answer) -> String {
        let text = millis(answer.value.get());
        match answer.outside {
            None => text,
            Some(outside) => {
                self.0.insert(outside.to_string());
                text + "*"
            }
        }
    }
}

pub(super) fn render(profile: &EngineProfile) -> String {
    let mut out = head(profile);
    let mut notes = Notes::default();
    put!(out, "\nPrefill, as measured\n{}\n", measured_prefill(profile));
    put!(
        out,
        "\nTTFT of a prompt alone on an engine, as planned with\n{}\n",
        ttft(profile, &mut notes)
    );
    put!(out, "\nDecode, as measured\n{}\n", measured_decode(profile));
    put!(
        out,
        "\nITL in ms by batch (down) and context in tokens (across), as planned with\n{}\n",
        itl(profile, &mut notes)
    );
    if !notes.0.is_empty() {
        put!(out, "\n* outside the data:\n");
        for note in &notes.0 {
            put!(out, "  {note}\n");
        }
    }
    out
}

fn head(profile: &EngineProfile) -> String {
    let (isl, contexts) = (profile.prefill().isl_range(), profile.decode().context_range());
    let gpus = match (profile.gpus_stated(), profile.gpus_implied()) {
        (Some(stated), Some(implied)) => {
            format!("{stated} (throughput was divided by {implied:.2})")
        }
        (Some(stated), None) => stated.to_string(),
        (None, Some(implied)) => format!("{implied:.2}, by which throughput was divided"),
        (None, None) => "not stated".to_owned(),
    };
    let fit = profile.prefill().fit();
    format!(
        "Profile   {}\nModel     {}\nGPUs      {gpus}\nKV cache  {:.0} an engine\n\
         Prefill   {} points, input lengths from {:.0} to {:.0} tokens\n\
         Decode    {} points, contexts from {:.0} to {:.0} tokens\n\
         Service   a prompt of n tokens takes {:.3} + {:.3} n/1000 + {:.4} (n/1000)² ms (least squares)\n",
        profile.place(),
        profile.model().unwrap_or("not stated"),
        profile.decode().max_kv_tokens(),
        profile.prefill_points().len(),
        isl.start(),
        isl.end(),
        profile.decode_points().len(),
        contexts.start(),
        contexts.end(),
        fit.a,
        fit.b * 1e3,
        fit.c * 1e6,
    )
}

fn measured_prefill(profile: &EngineProfile) -> Table {
    let mut table = table(&["ISL", "TTFT ms", "tokens/s", "tokens/s/GPU"]);
    for p in profile.prefill_points() {
        row(
            &mut table,
            [
                format!("{:.0}", p.isl.get()),
                millis(p.ttft.get()),
                format!("{:.0}", p.isl.get() / p.ttft.get() * 1e3),
                p.throughput_per_gpu.map_or_else(|| "–".to_owned(), |t| format!("{:.0}", t.get())),
            ],
        );
    }
    table
}

fn ttft(profile: &EngineProfile, notes: &mut Notes) -> Table {
    let mut table = table(&["ISL", "TTFT ms", "tokens/s"]);
    for isl in LENGTHS {
        let answer = profile.prefill().ttft(isl);
        let rate = format!("{:.0}", isl / answer.value.get().max(1e-9) * 1e3);
        row(&mut table, [format!("{isl:.0}"), notes.mark(answer), rate]);
    }
    table
}

fn measured_decode(profile: &EngineProfile) -> Table {
    let mut points = profile.decode_points().to_vec();
    points.sort_by(|a, b| {
        a.context.get().total_cmp(&b.context.get()).then(a.batch.total_cmp(&b.batch))
    });
    let mut table = table(&["context", "batch", "KV in use", "ITL ms", "tokens/s", "tokens/s/GPU"]);
    for p in points {
        row(
            &mut table,
            [
                format!("{:.0}", p.context.get()),
                format!("{:.1}", p.batch),
                format!("{:.1} %", p.kv_usage * 100.0),
                millis(p.itl.get()),
                format!("{:.0}", p.batch / p.itl.get() * 1e3),
                p.throughput_per_gpu.map_or_else(|| "–".to_owned(), |t| format!("{:.0}", t.get())),
            ],
        );
    }
    table
}

fn itl(profile: &EngineProfile, notes: &mut Notes) -> Table {
    let contexts: Vec<String> = CONTEXTS.iter().map(|c| format!("{c:.0}")).collect();
    let head: Vec<&str> =
        std::iter::once("batch").chain(contexts.iter().map(String::as_str)).collect();
    let mut table = table(&head);
    for batch in BATCHES {
        let cells = CONTEXTS.iter().map(|context| {
            let answer = profile.decode().itl(batch, *context);
            // So many sequences never run at once: there is no latency to tell.
            match answer.outside {
                Some(Outside::BeyondMemory { .. }) => "no room".to_owned(),
                _ => notes.mark(answer),
            }
        });
        row(&mut table, std::iter::once(format!("{batch:.0}")).chain(cells));
    }
    table
}

fn table(head: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY);
    table.set_header(head.iter().map(|h| right((*h).to_owned())));
    table
}

fn row(table: &mut Table, cells: impl IntoIterator<Item = String>) {
    table.add_row(cells.into_iter().map(right));
}

fn right(text: String) -> Cell {
    Cell::new(text).set_alignment(CellAlignment::Right)
}

fn millis(ms: f64) -> String {
    if ms < 100.0 { format!("{ms:.2}") } else { format!("{ms:.0}") }
}
