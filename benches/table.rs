//! What was measured: a table, and the same as JSON.

use serde_json::json;

use super::plot;

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

impl Table {
    /// `docs/benchmarks.md`, with the plot beside it.
    pub fn publish(&self) {
        let docs = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
        plot::draw(&self.0, &docs.join("benchmarks.svg")).expect("a plot");
        let rows: String = self.0.iter().map(|row| line(row) + "\n").collect();
        let said = |program: &str, arguments: &[&str]| {
            let output = std::process::Command::new(program)
                .args(arguments)
                .output()
                .expect(program);
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        };
        let text = format!(
            "# Benchmarks\n\n\
             `make bench` wrote this page and measured what is on it, on {}, of commit {}: {} cores, Linux {}, {}, Kubernetes 1.37,\n\
             Pebble 2.10.1. Everything runs on one machine: the API server, etcd, the Ingress controller, the CA, and the program.\n\
             A *floor* is measured in the same run: for nothing due, the same requests without reading their answers; for\n\
             certificates, a bare instant-acme loop without a cluster, {} orders at a time. Pebble asks nobody to wait (`Retry-After: 0`): its usual\n\
             second after each finalize would be for the program only, since the loop does not look at that header.\n\n\
             ![Growth of time and memory](benchmarks.svg)\n\n\
             | what | time | floor | ratio | CPU | peak memory | |\n|---|---|---|---|---|---|---|\n{rows}\n{}",
            said("date", &["-u", "+%Y-%m-%d"]),
            said("git", &["rev-parse", "--short", "HEAD"]),
            said("nproc", &[]),
            said("uname", &["-r"]).split('.').take(2).collect::<Vec<_>>().join("."),
            said("rustc", &["--version"]),
            super::CONCURRENT_ORDERS,
            self.slopes(),
        );
        std::fs::write(docs.join("benchmarks.md"), text).expect("docs/benchmarks.md");
    }

    /// The exponents between the smallest and the largest idle run.
    fn slopes(&self) -> String {
        let idle: Vec<&Row> = self
            .0
            .iter()
            .filter(|row| row.what.starts_with("nothing due"))
            .collect();
        let (Some(first), Some(last)) = (idle.first(), idle.last()) else {
            return String::new();
        };
        let slope = |value: fn(&Row) -> f64| {
            (value(last) / value(first)).log10() / (last.size as f64 / first.size as f64).log10()
        };
        format!(
            "From {} to {} Ingresses with nothing due, time grows with the power {:.2} of their number, and memory with {:.2}.\n",
            first.size,
            last.size,
            slope(|row| row.seconds),
            slope(|row| row.peak_mib),
        )
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
