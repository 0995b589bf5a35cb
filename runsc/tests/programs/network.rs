//! Cases with traffic between the machine and the sandbox. Both directions go through netstack: a
//! count of the packets on the link's device says so.

use std::net::Ipv4Addr;
use std::path::Path;

use crate::run::{self, Outcome, Server};

/// A check and the programs it needs.
pub(crate) struct NetworkCase {
    pub(crate) name: &'static str,
    pub(crate) needs: &'static [&'static str],
    pub(crate) check: fn() -> Outcome,
}

/// All of them.
pub(crate) const ALL: &[NetworkCase] = &[
    NetworkCase {
        name: "python_http_server",
        needs: &["python3", "curl"],
        check: python_http_server,
    },
    NetworkCase {
        name: "nginx_and_wrk",
        needs: &["nginx", "wrk"],
        check: nginx_and_wrk,
    },
    NetworkCase {
        name: "redis",
        needs: &["redis-server", "redis-benchmark"],
        check: redis,
    },
    NetworkCase {
        name: "curl_inside",
        needs: &["python3", "curl"],
        check: curl_inside,
    },
    NetworkCase {
        name: "iperf3_inside",
        needs: &["iperf3"],
        check: iperf3_inside,
    },
    NetworkCase {
        name: "ping_from_outside",
        needs: &["ping", "python3"],
        check: ping_from_outside,
    },
];

const SANDBOX: Ipv4Addr = Ipv4Addr::new(192, 168, 131, 2);
const MACHINE: Ipv4Addr = Ipv4Addr::new(192, 168, 131, 1);

/// Runs a native client to success and returns its output.
pub(crate) fn client(script: &str) -> Result<String, String> {
    let done = run::finish(run::native(script))?;
    if done.status.success() {
        Ok(done.stdout)
    } else {
        Err(format!("the client failed:\n{}", done.describe()))
    }
}

/// Packets that the machine's end of the sandbox's link has received and sent.
fn packets() -> (u64, u64) {
    let count = |file: &str| {
        let dirs = std::fs::read_dir("/sys/class/net")
            .into_iter()
            .flatten()
            .flatten();
        dirs.filter(|dir| dir.file_name().to_string_lossy().starts_with("runsc"))
            .filter_map(|dir| {
                std::fs::read_to_string(dir.path().join("statistics").join(file)).ok()
            })
            .filter_map(|text| text.trim().parse::<u64>().ok())
            .sum()
    };
    // /sys shows the namespace of whoever mounted it: /proc/net/dev is the caller's own.
    let table = std::fs::read_to_string("/proc/thread-self/net/dev").unwrap_or_default();
    let row = table
        .lines()
        .find(|line| line.trim_start().starts_with("runsc"));
    match row.map(|line| {
        line[line.find(':').unwrap_or(0) + 1..]
            .split_ascii_whitespace()
            .map(|n| n.parse().unwrap_or(0))
            .collect::<Vec<u64>>()
    }) {
        Some(fields) if fields.len() > 9 => (fields[1], fields[9]),
        _ => (count("rx_packets"), count("tx_packets")),
    }
}

/// Both directions of the link were used.
fn through_netstack() -> Outcome {
    match packets() {
        (0, _) | (_, 0) => Err(format!("no packets on the sandbox's link: {:?}", packets())),
        _ => Ok(()),
    }
}

fn python_http_server() -> Outcome {
    let file = run::pattern_file("page", 20 << 20)?;
    let dir = file
        .parent()
        .unwrap_or(Path::new("/tmp"))
        .display()
        .to_string();
    let script = format!("cd {dir} && exec python3 -u -m http.server 8000");
    let mut server = Server::start(run::sandboxed_at(SANDBOX, &script), "http")?;
    server.wait_for((SANDBOX, 8000))?;
    let name = file
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let result = client(&format!(
        "curl -sS --max-time 60 http://{SANDBOX}:8000/{name} | cmp - {} && echo same",
        file.display()
    ));
    let used = through_netstack();
    let _ = std::fs::remove_file(&file);
    match result {
        Ok(text) if text == "same\n" => used,
        Ok(text) => Err(format!("unexpected: {text}")),
        Err(why) => Err(format!("{why}{}", server.output())),
    }
}

fn nginx_and_wrk() -> Outcome {
    let script = r"d=$(mktemp -d); mkdir -p $d/html; head -c 1024 /dev/zero | tr '\0' x > $d/html/index.html
        printf 'daemon off; error_log stderr; pid %s/pid; user root; worker_processes 2; events { worker_connections 512; } http { access_log off; client_body_temp_path %s; proxy_temp_path %s; fastcgi_temp_path %s; uwsgi_temp_path %s; scgi_temp_path %s; server { listen 80; root %s/html; } }' $d $d $d $d $d $d $d > $d/conf
        exec nginx -c $d/conf -e stderr";
    let mut server = Server::start(run::sandboxed_at(SANDBOX, script), "nginx")?;
    server.wait_for((SANDBOX, 80))?;
    let text = client(&format!("wrk -t 1 -c 32 -d 2s http://{SANDBOX}/"))?;
    through_netstack()?;
    let answered = text.lines().find_map(|line| {
        let (count, _) = line.trim().split_once(" requests in ")?;
        count.parse::<u64>().ok()
    });
    let bad = text.contains("Socket errors")
        || text.contains("Non-2xx")
        || answered.is_none_or(|count| count == 0);
    if bad {
        Err(format!("wrk saw errors:\n{text}{}", server.output()))
    } else {
        Ok(())
    }
}

fn redis() -> Outcome {
    let script = "exec redis-server --save '' --appendonly no --bind 0.0.0.0 --protected-mode no";
    let mut server = Server::start(run::sandboxed_at(SANDBOX, script), "redis")?;
    server.wait_for((SANDBOX, 6379))?;
    let text = client(&format!(
        "redis-benchmark -h {SANDBOX} -t set,get,lpush -n 5000 -c 20 --csv && redis-cli -h {SANDBOX} set k v && redis-cli -h {SANDBOX} get k"
    ))?;
    through_netstack()?;
    if text.ends_with("OK\nv\n") {
        Ok(())
    } else {
        Err(format!("unexpected: {text}{}", server.output()))
    }
}

/// The machine's end of the link exists only while a sandbox runs, so the server listens on every address.
fn curl_inside() -> Outcome {
    let file = run::pattern_file("download", 5 << 20)?;
    let dir = file
        .parent()
        .unwrap_or(Path::new("/tmp"))
        .display()
        .to_string();
    let mut server = Server::start(
        run::native(&format!("cd {dir} && exec python3 -u -m http.server 8001")),
        "outside",
    )?;
    server.wait_for((Ipv4Addr::LOCALHOST, 8001))?;
    let name = file
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let script = format!(
        "curl -sS --max-time 60 http://{MACHINE}:8001/{name} | sha256sum; cat /proc/net/dev >/dev/null 2>&1; exit ${{PIPESTATUS[0]}}"
    );
    let inside = run::finish(run::sandboxed_at(SANDBOX, &script));
    let outside = client(&format!("sha256sum < {}", file.display()));
    let _ = std::fs::remove_file(&file);
    let (inside, outside) = (inside?, outside?);
    if inside.stdout == outside {
        Ok(())
    } else {
        Err(format!(
            "expected {outside}{}{}",
            inside.describe(),
            server.output()
        ))
    }
}

fn iperf3_inside() -> Outcome {
    let mut server = Server::start(run::native("exec iperf3 -s --forceflush"), "iperf3")?;
    for (direction, tests) in [("", 1), ("-R", 2)] {
        server.wait_for_output("Server listening", tests)?;
        let script = format!("iperf3 -c {MACHINE} -n 64M {direction} --connect-timeout 5000");
        let done = run::finish(run::sandboxed_at(SANDBOX, &script))?;
        if !done.status.success() || !done.stdout.contains("receiver") {
            return Err(format!(
                "iperf3 {direction} failed:\n{}{}",
                done.describe(),
                server.output()
            ));
        }
    }
    Ok(())
}

fn ping_from_outside() -> Outcome {
    let mut server = Server::start(
        run::sandboxed_at(SANDBOX, "exec python3 -u -m http.server 8000"),
        "ping",
    )?;
    server.wait_for((SANDBOX, 8000))?;
    let text = client(&format!("ping -c 3 -i 0.2 -W 5 {SANDBOX}"))?;
    if text.contains(" 0% packet loss") {
        Ok(())
    } else {
        Err(text)
    }
}
