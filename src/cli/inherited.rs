//! What a run from outside takes from the installation's CronJob: each option that neither a flag nor a variable of ours says.
//!
//! Nothing here knows single options but those that are no use elsewhere: a new one is inherited by standing under one of
//! [`HEADINGS`].

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::Resettable;
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, CommandFactory as _, ValueHint};

use crate::decide::cronjob::Installation;
use crate::decide::solver_pod::Template;
use crate::problem::Wrong;

use super::arguments::Arguments;

/// What is to be done, by which rules, and how. Which cluster, and how to talk, is for whoever runs it to say.
const HEADINGS: [&str; 4] = ["Selection", "CA", "Decision", "Challenge"];
/// What belongs to the place where a program runs, and `--force` and `--retry-now`, which are for names.
const OWN: [&str; 7] = [
    "force",
    "retry_now",
    "solver",
    "image",
    "advertise_address",
    "resolver",
    "probe",
];
/// What goes into a hint wherever the CronJob stands in somebody's way.
pub const LEAVE_IT: &str = "or add `--no-cronjob`: then nothing is taken from the CronJob";

/// What was taken from the CronJob.
#[derive(Clone, Debug, Default)]
pub struct Inherited {
    /// Its options, as flags.
    pub flags: Vec<String>,
    /// Those that name files, which are files of the Pod.
    pub paths: Vec<(String, PathBuf)>,
    /// The files, with what is in them. An inherited path is never one of this machine.
    pub files: BTreeMap<PathBuf, Vec<u8>>,
    /// Its Pod.
    pub template: Template,
}

impl Inherited {
    /// What `installation` says, where the arguments of `ours` do not.
    ///
    /// # Errors
    /// Where it says what cannot be followed from here.
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
        let theirs = Theirs::of(installation)?;
        theirs.check_home()?;
        theirs.check_source()?;
        if verb == "run" && theirs.matches.get_flag("dry_run") && !ours.get_flag("dry_run") {
            return Err(Wrong::new(
                format!("CronJob `{}` makes dry runs, but this is not one", installation.name),
                "add `--dry-run`; or add `--no-cronjob`, and give all options on this command line",
            )
            .into());
        }
        let wanted = command.get_arguments().filter(|arg| is_inherited(arg));
        for arg in wanted.filter(|arg| !is_settled(arg, command, ours)) {
            inherited.take(arg, &theirs)?;
        }
        Ok(inherited)
    }

    fn take(&mut self, arg: &Arg, theirs: &Theirs<'_>) -> Result<(), Wrong> {
        let Some(long) = arg.get_long() else {
            // A name stands for itself.
            self.flags.extend(theirs.values(arg)?);
            return Ok(());
        };
        for value in theirs.values(arg)? {
            if arg.get_value_hint() == ValueHint::AnyPath {
                self.paths.push((format!("--{long}"), PathBuf::from(&value)));
            }
            match (arg.get_action(), value.as_str()) {
                (ArgAction::SetTrue, "true") => self.flags.push(format!("--{long}")),
                (ArgAction::SetTrue, "false") => {}
                (ArgAction::SetTrue, other) => {
                    let cronjob = &theirs.installation.name;
                    return Err(Wrong::new(
                        format!("`--{long}` of CronJob `{cronjob}` is `{other}`, which is neither `true` nor `false`"),
                        "its own runs end with the same: correct it",
                    ));
                }
                _ => self.flags.push(format!("--{long}={value}")),
            }
        }
        Ok(())
    }
}

/// The CronJob's options, as a run in its Pod has them.
struct Theirs<'a> {
    installation: &'a Installation,
    matches: ArgMatches,
}

impl<'a> Theirs<'a> {
    /// Reads its arguments as this version's, and without our own environment.
    fn of(installation: &'a Installation) -> anyhow::Result<Self> {
        let deaf = |command: Command| command.mut_args(|arg| arg.env(Resettable::Reset));
        let command = deaf(Arguments::command().mut_subcommands(deaf));
        let words = ["kube-lego-once"].into_iter();
        let words = words.chain(installation.arguments.iter().map(String::as_str));
        let unusable = |why: &str, hint: &str| {
            Wrong::new(
                format!("cannot use the CronJob's arguments here: {why}"),
                format!("{hint}; {LEAVE_IT}"),
            )
        };
        let no_run = || unusable("they do not `run`", "its own Jobs do not either: correct its `args`");
        let image = installation.template.image().unwrap_or("not set");
        let another_version = format!("its image is `{image}`: use the same version here, or correct its `args`");
        let matches = command
            .try_get_matches_from(words)
            .map_err(|error| match error.kind() {
                ErrorKind::DisplayHelp
                | ErrorKind::DisplayVersion
                | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
                | ErrorKind::MissingSubcommand => no_run(),
                _ => unusable(&first_sentence(&error), &another_version),
            })?;
        match matches.subcommand() {
            Some(("run", matches)) => Ok(Self {
                installation,
                matches: matches.clone(),
            }),
            _ => Err(no_run().into()),
        }
    }

    /// An option's values: from the arguments, else from its variable.
    fn values(&self, arg: &Arg) -> Result<Vec<String>, Wrong> {
        let id = arg.get_id().as_str();
        if self.matches.value_source(id) == Some(ValueSource::CommandLine) {
            let values = self.matches.get_raw(id).into_iter().flatten();
            return Ok(values.map(|value| value.to_string_lossy().into_owned()).collect());
        }
        let Some(name) = arg.get_env().map(|name| name.to_string_lossy().into_owned()) else {
            return Ok(Vec::new());
        };
        match self.installation.unknown.get(&name) {
            Some(why) => Err(Wrong::new(
                format!(
                    "what `{name}` of CronJob `{}` is cannot be known here: {why}",
                    self.installation.name
                ),
                format!("`--{}` says it here", arg.get_long().unwrap_or_default()),
            )),
            None => Ok(self.installation.variables.get(&name).cloned().into_iter().collect()),
        }
    }

    /// What is read from files or foreseen is no run, and a Job that is told to ends with an error.
    fn check_source(&self) -> Result<(), Wrong> {
        let said = |id| self.matches.value_source(id) == Some(ValueSource::CommandLine);
        if !said("filenames") && !said("at") {
            return Ok(());
        }
        Err(Wrong::new(
            "the CronJob's arguments have `-f` or `--at`, which show a plan and run nothing",
            format!("its own Jobs end with an error: correct its `args`; {LEAVE_IT}"),
        ))
    }

    /// Two runs with homes of their own would not know of each other.
    fn check_home(&self) -> Result<(), Wrong> {
        let command = Arguments::command();
        let run = command.find_subcommand("run");
        let arg = run.and_then(|run| run.get_arguments().find(|arg| arg.get_id() == "home_namespace"));
        let home = &self.installation.namespace;
        let theirs = arg.map(|arg| self.values(arg)).transpose()?.unwrap_or_default();
        match theirs.last().filter(|theirs| *theirs != home) {
            None => Ok(()),
            Some(theirs) => Err(Wrong::new(
                format!(
                    "CronJob `{}` has its home in `{theirs}`, not in `{home}`",
                    self.installation.name
                ),
                format!("`--home-namespace {theirs}` works there; {LEAVE_IT}"),
            )),
        }
    }
}

/// What clap says is wrong; usage and tips follow, which are for whoever typed it.
pub(super) fn first_sentence(error: &clap::Error) -> String {
    let text = error.to_string();
    let lines = text.lines().take_while(|line| !line.trim().is_empty());
    let lines: Vec<_> = lines.map(str::trim).collect();
    lines.join(" ").trim_start_matches("error: ").to_owned()
}

fn is_inherited(arg: &Arg) -> bool {
    let headed = arg
        .get_help_heading()
        .is_some_and(|heading| HEADINGS.contains(&heading));
    headed && !arg.is_hide_set() && !OWN.contains(&arg.get_id().as_str())
}

/// Whether the one who runs this said it, or said what makes a whole of its own: a selection, a CA.
fn is_settled(arg: &Arg, command: &Command, ours: &ArgMatches) -> bool {
    let said = |id: &str| {
        let source = ours.try_contains_id(id).ok().and_then(|_| ours.value_source(id));
        source.is_some_and(|source| source != ValueSource::DefaultValue)
    };
    let selection = |arg: &&Arg| arg.get_help_heading() == Some("Selection");
    let whole = match arg.get_help_heading() {
        Some("Selection") => {
            let mut any = command.get_arguments().filter(selection);
            any.any(|arg| said(arg.get_id().as_str()))
        }
        Some("CA") => said("directory"),
        _ => false,
    };
    whole || said(arg.get_id().as_str())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::decide::cronjob::Kept;

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
        let cronjob = serde_json::from_value(object).expect("a CronJob");
        Installation::of(&cronjob, &Kept::new()).expect("an installation")
    }

    fn inherited(theirs: &Installation, ours: &[&str]) -> Result<Vec<String>, String> {
        let ours: Vec<OsString> = ["kube-lego-once"].iter().chain(ours).map(OsString::from).collect();
        let inherited = Inherited::from(theirs, &ours).map_err(|error| error.to_string())?;
        Ok(inherited.flags)
    }

    #[test]
    fn every_heading_has_options() {
        let command = Arguments::command();
        let run = command.find_subcommand("run").expect("the verb");
        for heading in HEADINGS {
            let mut all = run.get_arguments().filter(|arg| is_inherited(arg));
            assert!(all.any(|arg| arg.get_help_heading() == Some(heading)), "{heading}");
        }
        for own in OWN {
            assert!(run.get_arguments().any(|arg| arg.get_id() == own), "{own}");
        }
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
                "--probe=public",
            ],
            &[
                ("DIRECTORY", "letsencrypt"),
                ("PROFILE", "shortlived"),
                ("INTERVAL", "12h"),
                ("ADOPT", "true"),
                ("HOME_NAMESPACE", "home"),
                ("LISTEN", "0.0.0.0:9000"),
                ("SOLVER", "here"),
            ],
        );
        let all = [
            "--namespace=a",
            "--namespace=b",
            "--directory=letsencrypt",
            "--profile=shortlived",
            "--adopt",
            "--allow-shared-hosts=x.example",
            "--allow-shared-hosts=y.example",
            "--interval=6h",
            "--listen=0.0.0.0:9000",
        ];
        let without = |prefixes: &[&str]| {
            let kept = all
                .iter()
                .filter(|flag| !prefixes.iter().any(|prefix| flag.starts_with(prefix)));
            Ok(kept.map(|flag| (*flag).to_owned()).collect::<Vec<_>>())
        };
        for (ours, expected) in [
            (&["run"] as &[&str], without(&[])),
            (&["run", "--dry-run", "--profile=x"], without(&["--profile"])),
            (&["run", "--directory=zerossl"], without(&["--directory", "--profile"])),
            (&["run", "-A"], without(&["--namespace"])),
            (&["run", "-l", "app=web"], without(&["--namespace"])),
            (&["run", "x", "--adopt"], without(&["--namespace", "--adopt"])),
            (&["explain", "x", "-n", "c"], without(&["--namespace", "--listen"])),
            (&["clean"], Ok(Vec::new())),
        ] {
            assert_eq!(inherited(&theirs, ours), expected, "{ours:?}");
        }
    }

    #[test]
    fn the_names_are_the_cronjobs_too() {
        let theirs = installation(&["run", "a-tls", "b-tls", "-n", "web"], &[]);
        let all = ["a-tls", "b-tls", "--namespace=web"].map(str::to_owned).to_vec();
        assert_eq!(inherited(&theirs, &["run", "--dry-run"]), Ok(all));
        assert_eq!(inherited(&theirs, &["run", "-n", "shop"]), Ok(Vec::new()));
        assert_eq!(inherited(&theirs, &["run", "c-tls"]), Ok(Vec::new()));
    }

    #[test]
    fn a_switch_is_on_or_off_and_anything_else_is_neither() {
        for (value, expected) in [("true", Some("--adopt")), ("false", None)] {
            let flags = inherited(&installation(&["run"], &[("ADOPT", value)]), &["run"]);
            assert_eq!(flags, Ok(expected.map(str::to_owned).into_iter().collect()));
        }
        for value in ["", "1", "yes", "False", "TRUE"] {
            let error = inherited(&installation(&["run"], &[("ADOPT", value)]), &["run"]).expect_err(value);
            assert!(
                error.starts_with("`--adopt` of CronJob `home/kube-lego-once` is `"),
                "{error}"
            );
        }
    }

    #[test]
    fn what_cannot_be_followed_is_said() {
        for (arguments, words) in [
            (
                &["run", "--frobnicate"] as &[&str],
                "here: unexpected argument '--frobnicate' found",
            ),
            (&["completions", "bash"], "they do not `run`"),
            (&[], "they do not `run`"),
            (&["run", "--dry-run"], "makes dry runs, but this is not one"),
            (&["run", "-f", "/x"], "which show a plan and run nothing"),
            (
                &["run", "--home-namespace=other"],
                "has its home in `other`, not in `home`",
            ),
        ] {
            let error = inherited(&installation(arguments, &[]), &["run"]).expect_err(words);
            assert!(error.ends_with(words), "{arguments:?}: {error}");
        }
        let dry = installation(&["run", "--dry-run", "--eab-key-id=k"], &[]);
        assert_eq!(
            inherited(&dry, &["run", "--dry-run"]),
            Ok(vec!["--eab-key-id=k".into()])
        );
    }
}
