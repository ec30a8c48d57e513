//! The command line: raw arguments and environment become [`Settings`] once.

mod arguments;
mod inherited;
mod settings;

use std::ffi::OsString;

use clap::{CommandFactory as _, FromArgMatches as _, Parser as _};
use clap_complete::Shell;

pub use arguments::{Format, LogFormat, Logging};
pub use inherited::{Inherited, LEAVE_IT};
pub use settings::{Action, ChallengeSettings, Reach, Settings, Source};

use arguments::{Arguments, Command};
use inherited::first_sentence;

use crate::decide::cronjob::Installation;
use crate::problem::Wrong;

/// What was typed, and the environment that it was typed in.
#[derive(Clone, Debug)]
pub struct Cli {
    words: Vec<OsString>,
    arguments: Arguments,
}

impl Cli {
    /// The process's own. Help, the version and what cannot be read end the process, as people know it.
    pub fn parse() -> Self {
        Self {
            arguments: Arguments::parse(),
            words: std::env::args_os().collect(),
        }
    }

    /// Reads words, of which the first is the program's name.
    ///
    /// # Errors
    /// What clap finds wrong with them; asking for help is an error too.
    pub fn try_parse_from(words: impl IntoIterator<Item = impl Into<OsString>>) -> Result<Self, clap::Error> {
        let words: Vec<OsString> = words.into_iter().map(Into::into).collect();
        Ok(Self {
            arguments: Arguments::try_parse_from(&words)?,
            words,
        })
    }

    /// Reads what the arguments name and turns it into settings. Nothing else reads the environment or these files.
    pub fn settings(&self) -> anyhow::Result<Settings> {
        self.settings_with(&Inherited::default())
    }

    /// What the CronJob says where nothing was typed.
    ///
    /// # Errors
    /// Where its arguments are none of this version.
    pub fn inherit(&self, installation: &Installation) -> anyhow::Result<Inherited> {
        Inherited::from(installation, &self.words)
    }

    /// The same as [`Cli::settings`], on top of what is inherited.
    pub fn settings_with(&self, inherited: &Inherited) -> anyhow::Result<Settings> {
        let mut words = self.words.clone();
        // Right behind the verb: behind a `--` they would be names.
        let verb = words.iter().skip(1).position(|word| word == "run" || word == "explain");
        let behind = verb.map_or(words.len(), |index| index + 2);
        words.splice(behind..behind, inherited.flags.iter().map(OsString::from));
        let arguments = Arguments::command()
            .try_get_matches_from(words)
            .and_then(|matches| Arguments::from_arg_matches(&matches))
            .map_err(|error| Wrong {
                what: first_sentence(&error),
                hint: None,
            })?;
        match arguments.command {
            Command::Run(args) => args.into_settings(inherited),
            Command::Explain(args) => args.into_settings(inherited),
            Command::Clean(args) => Ok(Settings::clean(args.cluster)),
            Command::Solve(args) => Ok(Settings::only(Action::Solve {
                listen: args.listen,
                thumbprint: args.thumbprint,
                run: args.run,
            })),
            Command::Completions { shell } => Ok(Settings::only(Action::Completions(shell))),
        }
    }

    /// How to log, which is needed before anything can be said.
    pub fn logging(&self) -> Logging {
        self.arguments.logging
    }
}

/// A shell's completion script.
pub fn completions(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "kube-lego-once", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    /// One account in 64 has such a one: `-` is a letter of base64url's.
    #[test]
    fn a_thumbprint_may_begin_with_a_hyphen() {
        let expected = format!("-C{}", "x".repeat(41));
        let words = ["kube-lego-once", "solve", "--thumbprint", &expected, "--run", "r1"];
        let settings = Cli::try_parse_from(words).expect("a command line").settings();
        match settings.expect("settings").action {
            Action::Solve { thumbprint, .. } => assert_eq!(thumbprint, expected),
            other => panic!("{other:?}"),
        }
    }
}
