//! What a run from outside takes from the installation's CronJob: each option that neither a flag nor a variable of ours says.
//!
//! Nothing here knows single options: a new one is inherited by standing under one of [`HEADINGS`].

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::Resettable;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, CommandFactory as _, ValueHint};

use crate::decide::installation::Installation;
use crate::decide::solver::Template;
use crate::problem::Wrong;

use super::arguments::Arguments;

/// What is to be done, by which rules, and how. Which cluster, and how to talk, is for whoever runs it to say.
const HEADINGS: [&str; 4] = ["Selection", "Authority", "Decision", "Challenge"];
/// `--force` is for names, which are never inherited; an address that the CronJob advertises is its node's.
const OWN: [&str; 2] = ["force", "advertise_address"];

/// What was taken from the CronJob.
#[derive(Clone, Debug, Default)]
pub struct Inherited {
    /// Its options, as flags.
    pub flags: Vec<String>,
    /// Files that those name, which are files of the Pod.
    pub paths: Vec<PathBuf>,
    /// The same, with what is in them, as far as the cluster keeps them.
    pub files: BTreeMap<PathBuf, Vec<u8>>,
    /// Its Pod.
    pub template: Template,
    /// What could not be taken: a sentence each.
    pub notes: Vec<String>,
}

impl Inherited {
    /// What `installation` says, where the arguments of `ours` do not.
    ///
    /// # Errors
    /// Where its arguments are none of this version.
    pub fn from(installation: &Installation, ours: &[OsString]) -> anyhow::Result<Self> {
        let mut inherited = Self {
            template: installation.template.clone(),
            ..Self::default()
        };
        let mut command = Arguments::command();
        command.build();
        let ours = command.clone().try_get_matches_from(ours)?;
        let Some((verb, ours)) = ours.subcommand() else {
            return Ok(inherited);
        };
        let Some(command) = command.find_subcommand(verb) else {
            return Ok(inherited);
        };
        let theirs = arguments_of(installation)?;
        for arg in command
            .get_arguments()
            .filter(|arg| is_inherited(arg) && !is_settled(arg, command, ours))
        {
            inherited.take(arg, &theirs, installation);
        }
        Ok(inherited)
    }

    /// Takes one option: from the arguments, else from a variable, as a run in the Pod does.
    fn take(&mut self, arg: &Arg, theirs: &ArgMatches, installation: &Installation) {
        let Some(long) = arg.get_long() else { return };
        let id = arg.get_id().as_str();
        let name = arg
            .get_env()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        let values: Vec<String> = if theirs.value_source(id) == Some(ValueSource::CommandLine) {
            let values = theirs.get_raw(id).into_iter().flatten();
            values.map(|value| value.to_string_lossy().into_owned()).collect()
        } else if let Some(value) = installation.variables.get(&name) {
            vec![value.clone()]
        } else {
            if let Some(place) = installation.elsewhere.get(&name) {
                let cronjob = &installation.name;
                let note = format!("`{name}` of CronJob `{cronjob}` is in {place} and was not read: say `--{long}`");
                self.notes.push(note);
            }
            return;
        };
        if arg.get_value_hint() == ValueHint::AnyPath {
            self.paths.extend(values.iter().map(PathBuf::from));
        }
        self.flags
            .extend(values.into_iter().filter_map(|value| match arg.get_action() {
                ArgAction::SetTrue if value == "false" => None,
                ArgAction::SetTrue => Some(format!("--{long}")),
                _ => Some(format!("--{long}={value}")),
            }));
    }
}

/// The CronJob's arguments, read as this version's, and without our own environment.
fn arguments_of(installation: &Installation) -> anyhow::Result<ArgMatches> {
    let deaf = |command: Command| command.mut_args(|arg| arg.env(Resettable::Reset));
    let mut command = Arguments::command().mut_subcommands(deaf);
    command = deaf(command);
    let words = ["kube-lego-once"]
        .into_iter()
        .chain(installation.arguments.iter().map(String::as_str));
    let unusable = |why: &str| {
        let cronjob = &installation.name;
        Wrong::new(
            format!("the arguments of CronJob `{cronjob}` cannot be followed: {why}"),
            format!(
                "its image is `{}`: use the same version here, or correct the CronJob",
                installation.template.image().unwrap_or("not set")
            ),
        )
    };
    let matches = command
        .try_get_matches_from(words)
        .map_err(|error| unusable(&first_line(&error)))?;
    match matches.subcommand() {
        Some(("run", matches)) => Ok(matches.clone()),
        _ => Err(unusable("they do not `run`").into()),
    }
}

/// What clap says first; usage and tips follow, which are for whoever typed it.
pub(super) fn first_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default();
    line.trim_start_matches("error: ").to_owned()
}

fn is_inherited(arg: &Arg) -> bool {
    let headed = arg
        .get_help_heading()
        .is_some_and(|heading| HEADINGS.contains(&heading));
    headed && !arg.is_hide_set() && !OWN.contains(&arg.get_id().as_str())
}

/// Whether the one who runs this said it, or something that excludes it.
fn is_settled(arg: &Arg, command: &Command, ours: &ArgMatches) -> bool {
    let said = |arg: &Arg| {
        let source = ours.value_source(arg.get_id().as_str());
        source.is_some_and(|source| source != ValueSource::DefaultValue)
    };
    let mut others = command.get_arguments().filter(|other| said(other));
    said(arg)
        || others.any(|other| {
            let excludes = |one: &Arg, another: &Arg| {
                let excluded = command.get_arg_conflicts_with(one);
                excluded.iter().any(|arg| arg.get_id() == another.get_id())
            };
            excludes(other, arg) || excludes(arg, other)
        })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn installation(arguments: &[&str], variables: &[(&str, &str)]) -> Installation {
        let env: Vec<_> = variables
            .iter()
            .map(|(name, value)| json!({"name": format!("KUBE_LEGO_ONCE_{name}"), "value": value}))
            .collect();
        let object = json!({
            "metadata": {"namespace": "home", "name": "kube-lego-once"},
            "spec": {"schedule": "", "jobTemplate": {"spec": {"template": {"spec": {"containers": [
                {"name": "kube-lego-once", "image": "i:1", "args": arguments, "env": env},
            ]}}}}},
        });
        Installation::of(serde_json::from_value(object).expect("a CronJob")).expect("an installation")
    }

    fn inherited(theirs: &Installation, ours: &[&str]) -> Result<Vec<String>, String> {
        let ours: Vec<OsString> = ["kube-lego-once"].iter().chain(ours).map(OsString::from).collect();
        let inherited = Inherited::from(theirs, &ours).map_err(|error| error.to_string())?;
        Ok(inherited.flags)
    }

    #[test]
    fn an_option_is_the_cronjobs_unless_it_is_said() {
        let theirs = installation(
            &[
                "run",
                "-o",
                "json",
                "--interval",
                "6h",
                "-n",
                "a",
                "-n",
                "b",
                "--allow-shared-hosts=x.example,y.example",
            ],
            &[
                ("DIRECTORY", "letsencrypt"),
                ("INTERVAL", "12h"),
                ("ADOPT", "true"),
                ("HOME_NAMESPACE", "other"),
            ],
        );
        let all = [
            "--namespace=a",
            "--namespace=b",
            "--directory=letsencrypt",
            "--adopt",
            "--allow-shared-hosts=x.example",
            "--allow-shared-hosts=y.example",
            "--interval=6h",
        ];
        let without = |flags: &[&str]| {
            let kept = all.iter().filter(|flag| !flags.contains(flag));
            Ok(kept.map(|flag| (*flag).to_owned()).collect::<Vec<_>>())
        };
        for (ours, expected) in [
            (&["run"] as &[&str], without(&[])),
            (
                &["run", "--dry-run", "--directory=zerossl"],
                without(&["--directory=letsencrypt"]),
            ),
            (&["run", "-A"], without(&["--namespace=a", "--namespace=b"])),
            (
                &["run", "-n", "c", "--adopt"],
                without(&["--namespace=a", "--namespace=b", "--adopt"]),
            ),
            (
                &["explain", "x", "-n", "c"],
                without(&["--namespace=a", "--namespace=b"]),
            ),
            (&["clean"], Ok(Vec::new())),
        ] {
            assert_eq!(inherited(&theirs, ours), expected, "{ours:?}");
        }
    }

    #[test]
    fn what_is_the_pods_own_stays_there() {
        let theirs = installation(
            &[
                "run",
                "--advertise-address=192.0.2.1",
                "--kubeconfig=/x",
                "--context=y",
                "-v",
                "--dry-run",
            ],
            &[("ADOPT", "false")],
        );
        assert_eq!(inherited(&theirs, &["run"]), Ok(Vec::new()));
    }

    #[test]
    fn arguments_of_another_version_are_no_options() {
        let theirs = installation(&["run", "--frobnicate"], &[]);
        let error = inherited(&theirs, &["run"]).expect_err("no such flag");
        assert_eq!(
            error,
            "the arguments of CronJob `home/kube-lego-once` cannot be followed: unexpected argument '--frobnicate' found"
        );
        let theirs = installation(&["completions", "bash"], &[]);
        let error = inherited(&theirs, &["run"]).expect_err("no run");
        assert!(error.ends_with("they do not `run`"), "{error}");
    }
}
