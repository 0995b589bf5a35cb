//! `--network=host`: the sandbox's sockets are the machine's, in the caller's network namespace.

use std::net::Ipv4Addr;
use std::process::Command;

use crate::alone;
use crate::cases::Case;
use crate::network::{NetworkCase, client};
use crate::run::{self, Outcome, Server};

/// All of them.
pub(crate) const ALL: &[NetworkCase] = &[
    NetworkCase {
        name: "host_network_sockets",
        needs: &["python3"],
        check: sockets,
    },
    NetworkCase {
        name: "host_network_server_inside",
        needs: &["python3", "curl"],
        check: server_inside,
    },
    NetworkCase {
        name: "host_network_client_inside",
        needs: &["python3", "curl"],
        check: client_inside,
    },
    NetworkCase {
        name: "host_network_iperf3",
        needs: &["iperf3"],
        check: iperf3,
    },
];

const LOOPBACK: Ipv4Addr = Ipv4Addr::LOCALHOST;

fn sandboxed(script: &str) -> Command {
    run::sandboxed(&["--network=host"], script)
}

/// The same script natively and in the sandbox.
fn sockets() -> Outcome {
    let script = concat!(
        "python3 - <<'EOF'\n",
        include_str!("socket_script.py"),
        "\nEOF\n"
    );
    let case = Case {
        name: "host_network_sockets",
        needs: &[],
        script,
    };
    alone::compare_with(&["--network=host"], &case)
}

/// Serves `bytes` of a pattern by `server` on loopback, fetched by `fetch`: the same comes out.
fn transfer(
    server: fn(&str) -> Command,
    fetch: fn(&str) -> Command,
    port: u16,
    bytes: usize,
) -> Outcome {
    let file = run::pattern_file(&format!("host-{port}"), bytes)?;
    let (dir, name) = (file.parent(), file.file_name());
    let (Some(dir), Some(name)) = (dir, name) else {
        return Err("a temporary file without a directory".into());
    };
    let serve = format!(
        "cd {} && exec python3 -u -m http.server {port} --bind {LOOPBACK}",
        dir.display()
    );
    let mut server = Server::start(server(&serve), &format!("host-{port}"))?;
    server.wait_for((LOOPBACK, port))?;
    let url = format!("http://{LOOPBACK}:{port}/{}", name.display());
    let fetched = run::finish(fetch(&format!("curl -sS --max-time 60 {url} | sha256sum")));
    let expected = client(&format!("sha256sum < {}", file.display()));
    let _ = std::fs::remove_file(&file);
    let (fetched, expected) = (fetched?, expected?);
    if fetched.stdout == expected {
        return Ok(());
    }
    Err(format!(
        "expected {expected}{}{}",
        fetched.describe(),
        server.output()
    ))
}

fn server_inside() -> Outcome {
    transfer(sandboxed, run::native, 8010, 20 << 20)
}

fn client_inside() -> Outcome {
    transfer(run::native, sandboxed, 8011, 20 << 20)
}

fn iperf3() -> Outcome {
    let mut server = Server::start(
        sandboxed("exec iperf3 -s -p 5210 --forceflush"),
        "host-iperf3",
    )?;
    for (direction, tests) in [("", 1), ("-R", 2)] {
        server.wait_for_output("Server listening", tests)?;
        let text = client(&format!(
            "iperf3 -c {LOOPBACK} -p 5210 -n 64M {direction} --connect-timeout 5000"
        ))?;
        if !text.contains("receiver") {
            return Err(format!("iperf3 {direction}:\n{text}{}", server.output()));
        }
    }
    Ok(())
}
