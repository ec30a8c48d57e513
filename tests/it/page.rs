//! The page of `-o html` in a browser: what it shows, what its filter does, and that it asks for nothing.

mod browser;
mod world;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use browser::{Browser, Seen};
use world::{COUNTS, NAMESPACES, report};

use crate::written::written;

/// The most bytes of a page with 10,000 certificates.
const MOST_BYTES: usize = 5_000_000;
/// The longest time until such a page is made.
const LONGEST: Duration = Duration::from_secs(5);

/// For people to look at.
fn pictures() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../page");
    fs::create_dir_all(&folder).expect("a folder");
    folder
}

/// What is between two texts, each time.
fn between<'a>(text: &'a str, start: &str, end: &str) -> Vec<&'a str> {
    let rests = text.split(start).skip(1);
    rests.map(|rest| rest.split(end).next().expect("its end")).collect()
}

/// The element that begins with this, to the end of what is of its kind. None of these is in another one of its kind.
fn element<'a>(dom: &'a str, start: &str, end: &str) -> &'a str {
    let at = dom.find(start).unwrap_or_else(|| panic!("no `{start}` in\n{dom}"));
    dom[at..].split(end).next().expect("its end")
}

/// The figure with this word in the summary.
fn figure(dom: &str, word: &str) -> usize {
    let nav = element(dom, "<nav", "</nav>");
    let items = between(nav, "<li", "</li>");
    let item = items.iter().find(|item| item.contains(&format!("</b> {word}")));
    let item = item.unwrap_or_else(|| panic!("no figure `{word}` in {nav}"));
    let number = item
        .split("</b>")
        .next()
        .expect("a figure")
        .rsplit('>')
        .next()
        .expect("a number");
    number.replace(',', "").parse().expect("a number")
}

/// The sum of a column of the calendar that is shown.
fn sum(dom: &str, column: usize) -> usize {
    let rows = between(element(dom, "id=\"calendar\"", "</section>"), "<tr data-until", "</tr>");
    let shown = rows
        .into_iter()
        .filter(|row| !row.split('>').next().expect("a tag").contains("hidden"));
    let numbers = shown.map(|row| between(row, "class=\"number\">", "<")[column].replace(',', ""));
    numbers.map(|number| number.parse::<usize>().expect("a number")).sum()
}

/// The names of namespaces, by whether what is of them is shown.
fn namespaces(dom: &str, shown: bool) -> Vec<String> {
    let tags = between(dom, "data-namespace=\"", ">").into_iter();
    let mut names: Vec<String> = tags
        .filter(|tag| tag.contains("hidden") != shown)
        .map(|tag| tag.split('"').next().expect("a name").to_owned())
        .collect();
    names.sort();
    names.dedup();
    names
}

#[test]
#[ignore = "needs a browser"]
fn in_a_browser_it_filters_and_asks_for_nothing() {
    let Some(browser) = Browser::start() else {
        eprintln!("NOT TESTED: there is no `chromium` here, so no browser has looked at the page of `-o html`");
        return;
    };
    for count in COUNTS {
        let began = Instant::now();
        let page = written(|out| report(count).write_html(out));
        let took = began.elapsed();
        println!(
            "MEASURED: a page of {count} certificates has {} bytes, made in {took:?}",
            page.len()
        );
        assert!(
            page.len() <= MOST_BYTES && took < LONGEST,
            "{} bytes in {took:?}",
            page.len()
        );
        let url = browser.serve(&format!("{count}.html"), &page);

        let whole = browser.dom(&url);
        assert_eq!(whole.said, [""; 0], "{count}: nothing on the console");
        assert_eq!(whole.asked, [url.as_str()], "{count}: nothing but the page");
        assert_eq!(namespaces(&whole.dom, false), [""; 0], "{count}: all is shown");
        assert_eq!(between(&whole.dom, "<tr data-row", ">").len(), count);
        assert!(
            !element(&whole.dom, "<form", ">").contains("hidden"),
            "the script shows the filter"
        );
        let options = between(element(&whole.dom, "<select", "</select>"), "<option value=\"", "\"");
        assert_eq!(options.len(), 1 + namespaces(&whole.dom, true).len(), "{options:?}");

        let filtered = browser.dom(&format!("{url}#namespace=web"));
        check_filtered(&filtered, &url, &page, count);
        let unknown = browser.dom(&format!("{url}#namespace=%3Cb%3E"));
        assert!(
            unknown.dom.contains("Only namespace &lt;b&gt; is shown: 0 of"),
            "a name is text"
        );
        assert_eq!(unknown.said, [""; 0]);

        if count < 10_000 {
            let folder = pictures();
            browser.picture(&url, &folder.join(format!("{count}.png")), &[]);
            browser.picture(
                &url,
                &folder.join(format!("{count}-dark.png")),
                &["--blink-settings=preferredColorScheme=0"],
            );
            browser.print(&url, &folder.join(format!("{count}.pdf")));
        }
    }
}

/// What is shown of one namespace, and that what was counted again is what is in the page.
fn check_filtered(seen: &Seen, url: &str, page: &str, count: usize) {
    assert_eq!(seen.said, [""; 0], "{count}");
    assert_eq!(seen.asked, [url], "{count}");
    let dom = &seen.dom;
    assert_eq!(namespaces(dom, true), ["web"], "{count}");
    assert!(namespaces(dom, false).len() >= NAMESPACES.len() - 1, "{count}");
    let of_web = element(page, "<tbody data-namespace=\"web\"", "</tbody>");
    let rows = between(of_web, "<tr data-row", "</tr>");
    let with = |word: &str| rows.iter().filter(|row| row.contains(word)).count();
    let all = if count < 1_000 {
        count.to_string()
    } else {
        format!("{},000", count / 1_000)
    };
    let said = format!("Only namespace web is shown: {} of {all} certificates.", rows.len());
    assert!(dom.contains(&said), "{said}\n{}", element(dom, "<form", "</form>"));
    assert_eq!(
        figure(dom, "failed"),
        with("class=\"failed\"") + with("class=\"stopped\"")
    );
    assert_eq!(figure(dom, "refused"), with("class=\"refused\""));
    assert_eq!(figure(dom, "valid"), with("class=\"valid\""));
    assert!(
        figure(dom, "valid") > 0 && figure(page, "valid") > figure(dom, "valid"),
        "{count}: {} of {}",
        figure(dom, "valid"),
        figure(page, "valid")
    );
    assert_eq!(
        (sum(dom, 0), sum(dom, 1)),
        (with("class=\"renewal\""), with("class=\"end\""))
    );
    assert!(sum(page, 1) > sum(dom, 1) && sum(dom, 1) > 0, "{count}");
    // Each certificate that is at risk is in the calendar, and counted there.
    let risks = between(
        element(dom, "id=\"calendar\"", "</section>"),
        "<details data-counted",
        "</details>",
    );
    for risk in risks
        .iter()
        .filter(|risk| !risk.split('>').next().expect("a tag").contains("hidden"))
    {
        let names = between(risk, "<li data-namespace=\"", ">")
            .iter()
            .filter(|tag| !tag.contains("hidden"))
            .count();
        assert!(
            risk.contains(&format!("<span class=\"count\">{names}</span>")),
            "{risk}"
        );
    }
}

/// What the tests above look for is there to be found: a page that asks and complains is seen to, and the policy stops both.
#[test]
#[ignore = "needs a browser"]
fn a_page_that_does_more_is_seen() {
    let Some(browser) = Browser::start() else {
        eprintln!("NOT TESTED: there is no `chromium` here, so it is not known whether a browser's requests are seen");
        return;
    };
    let elsewhere = "<img src=\"http://elsewhere.example/x.png\"><script>console.error(\"it ran\")</script>";
    let bare =
        format!("<!DOCTYPE html><html><head><link rel=\"icon\" href=\"data:,\"></head><body>{elsewhere}</body></html>");
    let url = browser.serve("bare.html", &bare);
    let seen = browser.dom(&url);
    assert!(
        seen.asked.contains(&"http://elsewhere.example/x.png".to_owned()),
        "{seen:?}"
    );
    assert!(seen.said.iter().any(|line| line.contains("it ran")), "{seen:?}");

    // The same in our page, as if escaping had failed.
    let page = written(|out| report(10).write_html(out)).replacen("</main>", &format!("{elsewhere}</main>"), 1);
    let url = browser.serve("broken.html", &page);
    let seen = browser.dom(&url);
    assert_eq!(seen.asked, [url], "the policy lets nothing be loaded");
    assert!(
        seen.said.iter().all(|line| !line.contains("\"it ran\"")),
        "and no other script run: {seen:?}"
    );
    assert!(
        seen.said.iter().any(|line| line.contains("Content Security Policy")),
        "{seen:?}"
    );
}
