//! How many instructions the hot paths take, counted by callgrind: figures that don't depend on what else the machine
//! does. `cargo test --test instructions` compares them with the limits below; `docs/performance.md` says more.
//!
//! Each path runs twice, with few and with many rounds, and the difference counts: what is done once falls out. The
//! limits are those of an unoptimised build, as `make test` makes it: twice as many instructions for the same work
//! show there as well as anywhere, and nothing has to be built for it.

#![expect(clippy::print_stdout, reason = "what it says is its result")]

#[path = "../support/hot_path.rs"]
mod hot_path;
mod paths;

use std::process::{Command, ExitCode, Stdio};

use paths::{PATHS, Path};

const FEW: u64 = 20;
const MANY: u64 = 120;
/// How far above its figure a path may come.
const HEADROOM: f64 = 1.05;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.as_slice() {
        [run, name, rounds] if run == "run" => {
            let path = PATHS.iter().find(|path| path.name == name).expect("a path of that name");
            (path.run)(rounds.parse().expect("a number"));
            ExitCode::SUCCESS
        }
        filters => check(filters),
    }
}

fn check(filters: &[String]) -> ExitCode {
    let wanted = |path: &&Path| {
        let mut names = filters.iter().filter(|filter| !filter.starts_with('-')).peekable();
        names.peek().is_none() || names.any(|name| path.name.contains(name.as_str()))
    };
    if !cfg!(debug_assertions) {
        println!("the limits are those of an unoptimised build: run it without --release");
        return ExitCode::FAILURE;
    }
    let mut over = 0;
    for path in PATHS.iter().filter(wanted) {
        // Two at a time: there are two processors nearly everywhere.
        let (few, many) = std::thread::scope(|scope| {
            let few = scope.spawn(|| count(path, FEW));
            let many = count(path, MANY);
            (few.join().expect("a count"), many)
        });
        let each = (many - few) as f64 / (MANY - FEW) as f64 / path.each as f64;
        let limit = path.instructions as f64 * HEADROOM;
        let verdict = if each > limit { "OVER THE LIMIT" } else { "ok" };
        println!("{:<60} {each:>9.0} instructions, {limit:>9.0} allowed: {verdict}", path.name);
        over += u32::from(each > limit);
    }
    if over == 0 {
        return ExitCode::SUCCESS;
    }
    println!(
        "{over} paths take more instructions than they did. Is it worth it? Then say so, and raise the limit."
    );
    ExitCode::FAILURE
}

fn count(path: &Path, rounds: u64) -> u64 {
    let own = std::env::current_exe().expect("this program");
    let done = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(own)
        .args(["run", path.name, &rounds.to_string()])
        .stdin(Stdio::null())
        .output();
    let done = match done {
        Ok(done) => done,
        Err(error) => panic!("valgrind can't be run ({error}); this test needs it: apt-get install valgrind"),
    };
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{}: {said}", path.name);
    let collected = said.lines().find_map(|line| line.split("Collected :").nth(1));
    collected.and_then(|text| text.trim().parse().ok()).expect("what callgrind has counted")
}
