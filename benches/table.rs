//! What was measured: a table, and the same as JSON.

use serde_json::json;

/// One figure beside its floor.
pub struct Row {
    pub what: String,
    pub size: usize,
    pub seconds: f64,
    pub floor_seconds: Option<f64>,
    pub cpu_seconds: f64,
    pub peak_mib: f64,
    pub note: String,
}

#[derive(Default)]
pub struct Table(Vec<Row>);

impl Table {
    pub fn push(&mut self, row: Row) {
        println!("{}", line(&row));
        self.0.push(row);
    }

    /// The whole table once more, and as JSON in `target/bench.json`.
    pub fn write(&self) {
        println!("\n| what | time | floor | ratio | CPU | peak memory | |\n|---|---|---|---|---|---|---|");
        for row in &self.0 {
            println!("{}", line(row));
        }
        let rows: Vec<_> = self
            .0
            .iter()
            .map(|row| {
                json!({"what": row.what, "size": row.size, "seconds": row.seconds, "floorSeconds": row.floor_seconds,
                    "cpuSeconds": row.cpu_seconds, "peakMib": row.peak_mib, "note": row.note})
            })
            .collect();
        std::fs::create_dir_all("target").expect("target/");
        std::fs::write("target/bench.json", format!("{:#}\n", json!(rows))).expect("target/bench.json");
    }
}

fn line(row: &Row) -> String {
    let floor = row.floor_seconds.map_or("-".into(), |floor| format!("{floor:.2} s"));
    let ratio = row
        .floor_seconds
        .map_or("-".into(), |floor| format!("{:.2}", row.seconds / floor));
    format!(
        "| {} | {:.2} s | {floor} | {ratio} | {:.2} s | {:.1} MiB | {} |",
        row.what, row.seconds, row.cpu_seconds, row.peak_mib, row.note
    )
}
