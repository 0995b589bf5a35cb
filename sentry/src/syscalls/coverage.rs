//! The page on which calls are served and how far, made from the table.

use std::fmt::Write as _;

use crate::syscalls::Support;
use crate::syscalls::table::TABLE;

/// `docs/syscalls.md`, as it has to be for the present table.
pub fn page() -> String {
    let count = |support| TABLE.iter().filter(|row| row.support == support).count();
    let mut page = String::from("# System calls of the Sentry\n\n");
    // Writing to a String cannot fail.
    let _ = writeln!(
        page,
        "{} calls are served as Linux does, {} with the limits that the note names, {} always answer \
         the error that the note names. Every other number answers ENOSYS and is counted.\n",
        count(Support::Full),
        count(Support::Partial),
        count(Support::Refused),
    );
    page.push_str("This page is made from the table in `sentry/src/syscalls`; a test checks that it is fresh\n");
    page.push_str("(`UPDATE_DOCS=1 cargo test -p sentry coverage` writes it).\n\n");
    page.push_str("| number | name | support | note |\n| ---: | --- | --- | --- |\n");
    for row in TABLE.iter().filter(|row| row.support != Support::None) {
        let support = match row.support {
            Support::Full => "full",
            Support::Partial => "partial",
            Support::Refused => "refused",
            Support::None => continue,
        };
        let _ = writeln!(
            page,
            "| {} | {} | {support} | {} |",
            row.number, row.name, row.note
        );
    }
    page
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    #[test]
    fn the_coverage_page_is_fresh() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/syscalls.md");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(&path, super::page()).expect("docs/syscalls.md can be written");
        }
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            found == super::page(),
            "docs/syscalls.md is not fresh: UPDATE_DOCS=1 cargo test -p sentry coverage"
        );
    }
}
