//! A bundle: a directory with `config.json` and, usually, the root file system.

use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{Process, Spec};
use thiserror::Error;

/// What is wrong with a bundle.
#[derive(Debug, Error)]
pub(crate) enum BundleError {
    #[error(
        "there is no bundle at {path}: it needs a config.json (`runsc spec` writes one)", path = .0.display()
    )]
    Missing(PathBuf),
    #[error("cannot read {path}", path = .path.display())]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{path} is not a valid OCI configuration", path = .path.display())]
    Json {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
    #[error("config.json: {field}: {problem}")]
    Field {
        field: &'static str,
        problem: String,
    },
}

/// A bundle whose configuration has been read and checked.
#[derive(Clone, Debug)]
pub(crate) struct Bundle {
    /// Absolute path of the bundle.
    pub(crate) dir: PathBuf,
    /// Absolute path of the root file system.
    pub(crate) rootfs: PathBuf,
    /// The configuration.
    pub(crate) spec: Spec,
}

impl Bundle {
    /// Reads `dir/config.json` and checks what the runtime relies on.
    pub(crate) fn load(dir: &Path) -> Result<Self, BundleError> {
        let dir = dir
            .canonicalize()
            .map_err(|_| BundleError::Missing(dir.into()))?;
        let path = dir.join("config.json");
        let text = read_bounded(&path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => BundleError::Missing(dir.clone()),
            _ => BundleError::Io {
                path: path.clone(),
                source,
            },
        })?;
        let spec: Spec =
            serde_json::from_slice(&text).map_err(|source| BundleError::Json { path, source })?;
        let rootfs = check_root(&dir, &spec)?;
        check_version(&spec)?;
        check_process(process_of(&spec)?)?;
        check_hostname(&spec)?;
        check_hooks(&spec)?;
        check_namespaces(&spec)?;
        Ok(Self { dir, rootfs, spec })
    }

    /// The process to run; [`Bundle::load`] has made sure that there is one.
    pub(crate) fn process(&self) -> &Process {
        self.spec
            .process()
            .as_ref()
            .expect("load refuses a configuration without a process")
    }
}

/// The most that is read of a configuration; those of container managers have some 10 KiB.
const CONFIG_MAX: u64 = 4 << 20;

/// Reads an ordinary file: neither waits for a FIFO's writer nor follows a device without an end.
fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut options = std::fs::OpenOptions::new();
    options.read(true).custom_flags(libc::O_NONBLOCK);
    let file = options.open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not an ordinary file"));
    }
    let mut text = Vec::new();
    file.take(CONFIG_MAX + 1).read_to_end(&mut text)?;
    if text.len() as u64 > CONFIG_MAX {
        return Err(io::Error::other("it is larger than 4 MiB"));
    }
    Ok(text)
}

fn field(field: &'static str, problem: impl Into<String>) -> BundleError {
    BundleError::Field {
        field,
        problem: problem.into(),
    }
}

fn check_version(spec: &Spec) -> Result<(), BundleError> {
    match spec.version().split('.').next() {
        Some("1") => Ok(()),
        _ => Err(field(
            "ociVersion",
            format!("{:?} is not supported, 1.x is", spec.version()),
        )),
    }
}

fn check_root(dir: &Path, spec: &Spec) -> Result<PathBuf, BundleError> {
    let root = spec
        .root()
        .as_ref()
        .ok_or_else(|| field("root", "is missing"))?;
    if root.path().as_os_str().is_empty() {
        return Err(field("root.path", "is empty"));
    }
    let rootfs = dir.join(root.path());
    match rootfs.canonicalize() {
        Ok(path) if path.is_dir() => Ok(path),
        Ok(_) => Err(field(
            "root.path",
            format!("{} is not a directory", rootfs.display()),
        )),
        Err(error) => Err(field("root.path", format!("{}: {error}", rootfs.display()))),
    }
}

fn process_of(spec: &Spec) -> Result<&Process, BundleError> {
    spec.process()
        .as_ref()
        .ok_or_else(|| field("process", "is missing: there is nothing to run"))
}

/// utsname holds 64 bytes (sethostname(2)).
fn check_hostname(spec: &Spec) -> Result<(), BundleError> {
    match spec.hostname() {
        Some(name) if name.len() > 64 => Err(field("hostname", "is longer than 64 bytes")),
        _ => Ok(()),
    }
}

/// Each kind of namespace once (runtime-spec, config-linux.md).
fn check_namespaces(spec: &Spec) -> Result<(), BundleError> {
    let linux = spec.linux().as_ref();
    let all = linux.and_then(|linux| linux.namespaces().as_deref());
    let all = all.unwrap_or_default();
    let again = all.iter().enumerate().find(|(at, namespace)| {
        let mut earlier = all[..*at].iter();
        earlier.any(|other| other.typ() == namespace.typ())
    });
    match again {
        Some((_, namespace)) => Err(field(
            "linux.namespaces",
            format!("{} is there twice", namespace.typ()),
        )),
        None => Ok(()),
    }
}

#[allow(deprecated)] // prestart
fn check_hooks(spec: &Spec) -> Result<(), BundleError> {
    let Some(hooks) = spec.hooks() else {
        return Ok(());
    };
    let phases = [
        hooks.prestart(),
        hooks.create_runtime(),
        hooks.create_container(),
        hooks.start_container(),
        hooks.poststart(),
        hooks.poststop(),
    ];
    let mut all = phases.into_iter().flatten().flatten();
    if all
        .clone()
        .any(|hook| hook.timeout().is_some_and(|seconds| seconds <= 0))
    {
        return Err(field("hooks", "a timeout must be above 0"));
    }
    match all.find(|hook| !hook.path().is_absolute()) {
        Some(hook) => Err(field(
            "hooks",
            format!("the path {:?} is not absolute", hook.path()),
        )),
        None => Ok(()),
    }
}

/// Checks a process description: a bundle's own, or one that `exec --process` reads.
pub(crate) fn check_process(process: &Process) -> Result<(), BundleError> {
    if process.args().as_ref().is_none_or(Vec::is_empty) {
        return Err(field("process.args", "is empty: there is nothing to run"));
    }
    if !process.cwd().is_absolute() {
        return Err(field(
            "process.cwd",
            format!("{:?} is not an absolute path", process.cwd()),
        ));
    }
    if let Some(bad) = process
        .env()
        .iter()
        .flatten()
        .find(|variable| !variable.contains('='))
    {
        return Err(field(
            "process.env",
            format!("{bad:?} is not of the form NAME=value"),
        ));
    }
    check_strings("process.args", process.args().iter().flatten())?;
    check_strings("process.env", process.env().iter().flatten())?;
    if process.user().umask().is_some_and(|umask| umask > 0o777) {
        return Err(field("process.user.umask", "is more than 0777"));
    }
    check_rlimits(process)
}

/// execve(2) takes strings that end with a NUL, so that none can be in them.
fn check_strings<'a>(
    name: &'static str,
    strings: impl IntoIterator<Item = &'a String>,
) -> Result<(), BundleError> {
    match strings.into_iter().find(|text| text.contains('\0')) {
        Some(bad) => Err(field(name, format!("{bad:?} has a NUL in it"))),
        None => Ok(()),
    }
}

fn check_rlimits(process: &Process) -> Result<(), BundleError> {
    let limits = process.rlimits().as_deref().unwrap_or_default();
    for (at, limit) in limits.iter().enumerate() {
        if limit.soft() > limit.hard() {
            let problem = format!("the soft limit of {:?} is above the hard one", limit.typ());
            return Err(field("process.rlimits", problem));
        }
        if limits[..at].iter().any(|other| other.typ() == limit.typ()) {
            let problem = format!("{:?} is there twice", limit.typ());
            return Err(field("process.rlimits", problem));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(config: &str) -> Result<Bundle, BundleError> {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let unique = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir =
            std::env::temp_dir().join(format!("runsc-bundle-{}-{unique}", std::process::id()));
        std::fs::create_dir_all(dir.join("rootfs")).unwrap();
        std::fs::write(dir.join("config.json"), config).unwrap();
        let result = Bundle::load(&dir);
        std::fs::remove_dir_all(&dir).unwrap();
        result
    }

    #[test]
    fn the_template_is_a_good_bundle() {
        let config = serde_json::to_string(&super::super::template::spec(&["sh".into()])).unwrap();
        let bundle = load(&config).unwrap();
        assert_eq!(bundle.process().args().as_ref().unwrap(), &["sh"]);
    }

    #[test]
    fn each_fault_is_named() {
        let said = |config: &str| load(config).unwrap_err().to_string();
        assert!(said("{").contains("not a valid OCI configuration"));
        assert!(said(r#"{"ociVersion":"1.0.2"}"#).contains("root"));
        assert!(said(r#"{"ociVersion":"2.0","root":{"path":"rootfs"}}"#).contains("ociVersion"));
        assert!(said(r#"{"ociVersion":"1.0","root":{"path":"rootfs"}}"#).contains("process"));
        assert!(said(r#"{"ociVersion":"1.0","root":{"path":"gone"}}"#).contains("root.path"));
        let process = r#"{"ociVersion":"1.0","root":{"path":"rootfs"},"process":{"cwd":"x","args":["a"],"user":{"uid":0,"gid":0}}}"#;
        assert!(said(process).contains("process.cwd"));
    }

    #[test]
    fn no_bundle_says_what_to_do() {
        let error = Bundle::load(Path::new("/nonexistent"))
            .unwrap_err()
            .to_string();
        assert!(error.contains("runsc spec"), "{error}");
    }
}
