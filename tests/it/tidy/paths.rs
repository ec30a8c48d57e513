//! The paths that a Rust source text names, found by its tokens.

use std::str::FromStr as _;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// Every path of a text, in `use` items (their braces multiplied out) and anywhere else, macros' arguments included.
/// Comments and strings are no tokens of a path.
pub fn paths(text: &str) -> Vec<String> {
    let tokens = TokenStream::from_str(text).expect("a Rust source file");
    let mut found = Vec::new();
    walk(tokens, "", &mut found);
    found
}

fn walk(tokens: TokenStream, prefix: &str, found: &mut Vec<String>) {
    let mut path = prefix.to_owned();
    let mut colons = 0;
    let end = |path: &mut String, found: &mut Vec<String>| {
        if path != prefix {
            found.push(std::mem::replace(path, prefix.to_owned()));
        }
    };
    for token in tokens {
        match token {
            TokenTree::Punct(punct) if punct.as_char() == ':' => {
                colons += 1;
                continue;
            }
            TokenTree::Ident(ident) => {
                let word = ident.to_string();
                if colons != 2 {
                    end(&mut path, found);
                }
                if !path.is_empty() {
                    path.push_str("::");
                }
                path.push_str(&word);
                // A path may follow, and this is not its first part.
                if ["as", "else", "in", "pub", "return", "use"].contains(&word.as_str()) {
                    path = prefix.to_owned();
                }
            }
            TokenTree::Punct(punct) if punct.as_char() == '*' && colons == 2 => {
                path.push_str("::*");
                end(&mut path, found);
            }
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace && colons == 2 => {
                let stem = std::mem::replace(&mut path, prefix.to_owned());
                walk(group.stream(), &stem, found);
            }
            TokenTree::Group(group) => {
                end(&mut path, found);
                walk(group.stream(), "", found);
            }
            TokenTree::Punct(_) | TokenTree::Literal(_) => end(&mut path, found),
        }
        colons = 0;
    }
    end(&mut path, found);
}
