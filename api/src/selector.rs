//! The selector language: which resources are meant, by their labels.
//!
//! ```text
//! expr    = term { "||" term }
//! term    = factor { "&&" factor }
//! factor  = "!" factor | "(" expr ")" | "all()" | "global()" | "has(" key ")" | test
//! test    = key ( "==" | "!=" | "contains" | "starts with" | "ends with" ) value
//!         | key [ "not" ] "in" "{" value { "," value } "}"
//! value   = 'text' | "text"
//! ```
//! `!=` and `not in` hold for a resource without the label, as in Calico; `contains`, `starts with` and `ends with` do
//! not. An error points at the column where reading stopped and says what would have done.

use std::fmt;
use std::str::FromStr;

use nom::branch::alt;
use nom::bytes::complete::{tag, take_while, take_while1};
use nom::character::complete::{char, multispace0, multispace1};
use nom::combinator::{cut, eof, value};
use nom::error::{ErrorKind, ParseError};
use nom::multi::{many0, separated_list1};
use nom::sequence::{delimited, preceded, separated_pair, terminated};
use nom::{IResult, Parser};

use crate::meta::Labels;

/// A selector, ready to be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    text: String,
    expr: Expr,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Expr {
    All,
    Has(String),
    Test(String, Test),
    In(String, Vec<String>),
    Not(Box<Expr>),
    And(Vec<Expr>),
    Or(Vec<Expr>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Test {
    Equals(String),
    Contains(String),
    StartsWith(String),
    EndsWith(String),
}

impl Selector {
    /// Does a resource with these labels belong?
    #[must_use]
    pub fn matches(&self, labels: &Labels) -> bool {
        self.holds(&|key| labels.get(key).map(String::as_str))
    }

    /// Does a resource belong whose labels this function knows by their keys?
    #[must_use]
    pub fn holds<'l>(&self, label: &dyn Fn(&str) -> Option<&'l str>) -> bool {
        self.expr.holds(label)
    }

    /// The selector that asks all of this; of nothing, the one that every resource matches.
    #[must_use]
    pub fn requiring(requirements: &[Requirement]) -> Self {
        let (texts, parts): (Vec<String>, Vec<Expr>) =
            requirements.iter().map(|one| (one.to_string(), one.expr())).unzip();
        match parts.is_empty() {
            true => Self::all(),
            false => Self { text: texts.join(" && "), expr: one_or(parts, Expr::And) },
        }
    }

    /// The clues without one of which no labels match; `None` when no clue is needed, as for `all()` or `!has(a)`. An
    /// index finds a selector by them.
    #[must_use]
    pub fn clues(&self) -> Option<Vec<Clue<'_>>> {
        self.expr.clues()
    }

    /// Is it the one that every resource matches, whatever its labels are?
    #[must_use]
    pub fn is_all(&self) -> bool {
        self.expr == Expr::All
    }

    /// The selector that every resource matches.
    #[must_use]
    pub fn all() -> Self {
        Self { text: "all()".to_owned(), expr: Expr::All }
    }
}

/// One demand on labels, as the label selectors of Kubernetes make them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Requirement {
    /// The label is there.
    Has(String),
    /// It is not there.
    HasNot(String),
    /// It is there and has one of these values.
    In(String, Vec<String>),
    /// It is not there, or has none of these values.
    NotIn(String, Vec<String>),
}

impl Requirement {
    fn expr(&self) -> Expr {
        match self {
            Self::Has(key) => Expr::Has(key.clone()),
            Self::HasNot(key) => not(Expr::Has(key.clone())),
            Self::In(key, values) => Expr::In(key.clone(), values.clone()),
            Self::NotIn(key, values) => not(Expr::In(key.clone(), values.clone())),
        }
    }
}

/// As a selector writes it.
impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // No label has a quotation mark in its value, but who asks for one must not seem to ask for something else.
        let quoted = |value: &String| match value.contains(['\'', '"', '\\']) {
            true => format!("{value:?}"),
            false => format!("'{value}'"),
        };
        let list = |values: &[String]| values.iter().map(quoted).collect::<Vec<_>>().join(", ");
        match self {
            Self::Has(key) => write!(f, "has({key})"),
            Self::HasNot(key) => write!(f, "!has({key})"),
            Self::In(key, values) => match values.as_slice() {
                [only] => write!(f, "{key} == {}", quoted(only)),
                many => write!(f, "{key} in {{{}}}", list(many)),
            },
            Self::NotIn(key, values) => write!(f, "{key} not in {{{}}}", list(values)),
        }
    }
}

/// Something that labels must have for a selector to match them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Clue<'a> {
    /// A label of this key.
    Key(&'a str),
    /// This label.
    Label(&'a str, &'a str),
}

impl Expr {
    fn holds<'l>(&self, label: &dyn Fn(&str) -> Option<&'l str>) -> bool {
        match self {
            Self::All => true,
            Self::Has(key) => label(key).is_some(),
            Self::Test(key, test) => label(key).is_some_and(|v| test.holds(v)),
            Self::In(key, values) => label(key).is_some_and(|v| values.iter().any(|value| value == v)),
            Self::Not(inner) => !inner.holds(label),
            Self::And(parts) => parts.iter().all(|e| e.holds(label)),
            Self::Or(parts) => parts.iter().any(|e| e.holds(label)),
        }
    }

    fn clues(&self) -> Option<Vec<Clue<'_>>> {
        match self {
            Self::All | Self::Not(_) => None,
            Self::Test(key, Test::Equals(value)) => Some(vec![Clue::Label(key, value)]),
            Self::Has(key) | Self::Test(key, _) => Some(vec![Clue::Key(key)]),
            Self::In(key, values) => Some(values.iter().map(|value| Clue::Label(key, value)).collect()),
            // One part's clues do: those that are met least, as far as their kind tells.
            Self::And(parts) => parts.iter().filter_map(Self::clues).min_by_key(|clues| {
                let keys = clues.iter().filter(|clue| matches!(clue, Clue::Key(_))).count();
                (keys, clues.len())
            }),
            Self::Or(parts) => {
                parts.iter().map(Self::clues).collect::<Option<Vec<_>>>().map(|clues| clues.concat())
            }
        }
    }
}

impl Test {
    fn holds(&self, value: &str) -> bool {
        match self {
            Self::Equals(text) => value == text,
            Self::Contains(text) => value.contains(text),
            Self::StartsWith(text) => value.starts_with(text),
            Self::EndsWith(text) => value.ends_with(text),
        }
    }
}

/// As its author wrote it.
impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Text that is no selector.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    /// Reading stopped.
    #[error("a selector; at column {column} wanted {wanted}, found {found}")]
    Unexpected {
        /// Where, in characters from 1.
        column: usize,
        /// What would have done there.
        wanted: &'static str,
        /// What stands there.
        found: String,
    },
    /// Longer than [`SelectorError::MOST`] characters.
    #[error("a selector of at most {} characters", Self::MOST)]
    TooLong,
}

impl SelectorError {
    /// The most characters a selector may have.
    pub const MOST: usize = 1024;
    /// How deep parentheses and `!` may be nested.
    const DEEPEST: u8 = 32;
}

impl FromStr for Selector {
    type Err = SelectorError;
    fn from_str(text: &str) -> Result<Self, SelectorError> {
        if text.chars().count() > SelectorError::MOST {
            return Err(SelectorError::TooLong);
        }
        let end = wanting("&&, || or the end", eof);
        match terminated(|i| expr(i, SelectorError::DEEPEST), preceded(multispace0, end)).parse(text) {
            Ok((_, expr)) => Ok(Self { text: text.to_owned(), expr }),
            Err(nom::Err::Error(stop) | nom::Err::Failure(stop)) => Err(stop.explain(text)),
            Err(nom::Err::Incomplete(_)) => Err(Stop { rest: "", wanted: "more" }.explain(text)),
        }
    }
}

/// Where reading stopped and what would have done.
#[derive(Debug)]
struct Stop<'a> {
    rest: &'a str,
    wanted: &'static str,
}

impl Stop<'_> {
    fn explain(&self, text: &str) -> SelectorError {
        let read = text.get(..text.len() - self.rest.len()).unwrap_or(text);
        let word: String = self.rest.chars().take_while(|c| !c.is_whitespace()).take(20).collect();
        let found = if self.rest.is_empty() { "the end".to_owned() } else { format!("{word:?}") };
        SelectorError::Unexpected { column: read.chars().count() + 1, wanted: self.wanted, found }
    }
}

impl<'a> ParseError<&'a str> for Stop<'a> {
    fn from_error_kind(rest: &'a str, _: ErrorKind) -> Self {
        Self { rest, wanted: "something else" }
    }
    fn append(_: &'a str, _: ErrorKind, other: Self) -> Self {
        other
    }
    /// Of two alternatives the one that got further knows better what was meant.
    fn or(self, other: Self) -> Self {
        if self.rest.len() < other.rest.len() { self } else { other }
    }
}

type Read<'a, T> = IResult<&'a str, T, Stop<'a>>;

/// Names what the parser wants, for the case that it stops where it starts.
fn wanting<'a, T>(
    wanted: &'static str,
    mut parser: impl Parser<&'a str, Output = T, Error = Stop<'a>>,
) -> impl FnMut(&'a str) -> Read<'a, T> {
    move |input| {
        parser.parse(input).map_err(|e| {
            e.map(|stop| if stop.rest.len() == input.len() { Stop { rest: input, wanted } } else { stop })
        })
    }
}

fn expr(input: &str, depth: u8) -> Read<'_, Expr> {
    joined("||", |i| term(i, depth), input).map(|(rest, parts)| (rest, one_or(parts, Expr::Or)))
}

fn term(input: &str, depth: u8) -> Read<'_, Expr> {
    joined("&&", |i| factor(i, depth), input).map(|(rest, parts)| (rest, one_or(parts, Expr::And)))
}

/// One part or more; behind `join` there must be another, so an error there is not taken for the end.
fn joined<'a>(
    join: &'static str,
    part: impl Fn(&'a str) -> Read<'a, Expr>,
    input: &'a str,
) -> Read<'a, Vec<Expr>> {
    let (rest, first) = part(input)?;
    let more = preceded((multispace0, tag(join), multispace0), cut(&part));
    let (rest, others) = many0(more).parse(rest)?;
    Ok((rest, std::iter::once(first).chain(others).collect()))
}

fn one_or(mut parts: Vec<Expr>, join: fn(Vec<Expr>) -> Expr) -> Expr {
    match (parts.pop(), parts.is_empty()) {
        (Some(only), true) => only,
        (last, _) => {
            parts.extend(last);
            join(parts)
        }
    }
}

fn factor(input: &str, depth: u8) -> Read<'_, Expr> {
    let (input, _) = multispace0(input)?;
    let Some(depth) = depth.checked_sub(1) else {
        return Err(nom::Err::Failure(Stop { rest: input, wanted: "fewer nested parentheses (at most 32)" }));
    };
    let close = || preceded(multispace0, wanting("&&, || or )", char(')')));
    let not = preceded(char('!'), cut(move |i| factor(i, depth))).map(|e| Expr::Not(Box::new(e)));
    let group = delimited(char('('), cut(move |i| expr(i, depth)), cut(close()));
    let all = alt((call("all"), call("global"))).map(|()| Expr::All);
    let has = delimited(
        (tag("has"), multispace0, char('('), multispace0),
        cut(key),
        cut((multispace0, wanting(")", char(')')))),
    );
    let start = "a label, has(label), all(), ! or (";
    wanting(start, alt((not, group, all, has.map(|k| Expr::Has(k.to_owned())), test))).parse(input)
}

fn call<'a>(name: &'static str) -> impl Parser<&'a str, Output = (), Error = Stop<'a>> {
    value((), (tag(name), multispace0, char('('), multispace0, char(')')))
}

fn key(input: &str) -> Read<'_, &str> {
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '/' | '-');
    wanting("a label", take_while1(inner)).parse(input)
}

fn test(input: &str) -> Read<'_, Expr> {
    let (input, key) = key(input)?;
    let operators = "==, !=, in, not in, contains, starts with or ends with";
    let equal = (multispace0, tag("=="), multispace0);
    let unequal = (multispace0, tag("!="), multispace0);
    let word = |word: &'static str| (multispace1, tag(word), multispace0);
    let words = |a: &'static str, b: &'static str| (multispace1, tag(a), multispace1, tag(b), multispace0);
    let found = alt((
        preceded(equal, cut(text)).map(|v| is(key, Test::Equals(v))),
        preceded(unequal, cut(text)).map(|v| not(is(key, Test::Equals(v)))),
        preceded(word("contains"), cut(text)).map(|v| is(key, Test::Contains(v))),
        preceded(words("starts", "with"), cut(text)).map(|v| is(key, Test::StartsWith(v))),
        preceded(words("ends", "with"), cut(text)).map(|v| is(key, Test::EndsWith(v))),
        preceded(words("not", "in"), cut(set)).map(|v| not(Expr::In(key.to_owned(), v))),
        preceded(word("in"), cut(set)).map(|v| Expr::In(key.to_owned(), v)),
    ))
    .parse(input);
    // An operator that is none may have been read in part: the message points at its beginning.
    found.map_err(|e| match e {
        nom::Err::Error(_) => nom::Err::Failure(Stop { rest: input.trim_start(), wanted: operators }),
        other => other,
    })
}

fn is(key: &str, test: Test) -> Expr {
    Expr::Test(key.to_owned(), test)
}

fn not(expr: Expr) -> Expr {
    Expr::Not(Box::new(expr))
}

fn text(input: &str) -> Read<'_, String> {
    let single = delimited(char('\''), take_while(|c| c != '\''), cut(wanting("a closing '", char('\''))));
    let double = delimited(char('"'), take_while(|c| c != '"'), cut(wanting("a closing \"", char('"'))));
    wanting("text in quotes", alt((single, double))).parse(input).map(|(rest, t)| (rest, t.to_owned()))
}

fn set(input: &str) -> Read<'_, Vec<String>> {
    let comma = (multispace0, char(','), multispace0);
    let open = (wanting("{", char('{')), multispace0);
    let close = (multispace0, wanting(", or }", char('}')));
    separated_pair(open, nom::combinator::success(()), cut(separated_list1(comma, text)))
        .and(cut(close))
        .parse(input)
        .map(|(rest, ((_, values), _))| (rest, values))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn every_operator_does_what_it_says() {
        let node = labels(&[("rack", "one"), ("example.org/role", "edge-node")]);
        let cases = [
            ("all()", true),
            ("global()", true),
            ("rack == 'one'", true),
            ("rack==\"one\"", true),
            ("rack != 'one'", false),
            ("absent != 'one'", true),
            ("rack in {'two', 'one'}", true),
            ("rack in { 'two' }", false),
            ("rack not in {'two'}", true),
            ("absent not in {'two'}", true),
            ("has(rack)", true),
            ("!has(rack)", false),
            ("has( absent )", false),
            ("example.org/role contains 'ge-n'", true),
            ("example.org/role starts with 'edge'", true),
            ("example.org/role ends with 'edge'", false),
            ("absent contains ''", false),
            ("rack == 'two' || has(rack) && !has(absent)", true),
            ("(rack == 'two' || has(rack)) && has(absent)", false),
            ("!(rack == 'two')", true),
            ("!!has(rack)", true),
            ("  has(rack)  ", true),
        ];
        for (text, matches) in cases {
            let selector: Selector = text.parse().unwrap();
            assert_eq!(selector.matches(&node), matches, "{text}");
            assert_eq!(selector.to_string(), text);
        }
    }

    #[test]
    fn an_error_points_at_the_column_and_says_what_would_have_done() {
        let operators = "==, !=, in, not in, contains, starts with or ends with";
        let start = "a label, has(label), all(), ! or (";
        let cases = [
            ("", 1, start, "the end"),
            ("rack", 5, operators, "the end"),
            ("rack = 'one'", 6, operators, "\"=\""),
            ("rack == one", 9, "text in quotes", "\"one\""),
            ("rack == 'one", 13, "a closing '", "the end"),
            ("rack in 'one'", 9, "{", "\"'one'\""),
            ("rack in {}", 10, "text in quotes", "\"}\""),
            ("rack in {'one' 'two'}", 16, ", or }", "\"'two'}\""),
            ("has(rack", 9, ")", "the end"),
            ("has()", 5, "a label", "\")\""),
            ("(has(a)", 8, "&&, || or )", "the end"),
            ("has(a) &&", 10, start, "the end"),
            ("has(a) || && has(b)", 11, start, "\"&&\""),
            ("has(a) and has(b)", 8, "&&, || or the end", "\"and\""),
            ("rack == 'ü' )", 13, "&&, || or the end", "\")\""),
        ];
        for (text, column, wanted, found) in cases {
            let error = text.parse::<Selector>().unwrap_err();
            let expected = SelectorError::Unexpected { column, wanted, found: found.to_owned() };
            assert_eq!(error, expected, "{text}");
        }
    }

    #[test]
    fn what_kubernetes_demands_reads_back_as_a_selector() {
        let values = || vec!["one".to_owned(), "two".to_owned()];
        let key = || "rack".to_owned();
        let demands = [
            Requirement::In(key(), vec!["one".to_owned()]),
            Requirement::In(key(), values()),
            Requirement::NotIn(key(), values()),
            Requirement::Has(key()),
            Requirement::HasNot("absent".to_owned()),
        ];
        for demand in &demands {
            let made = Selector::requiring(std::slice::from_ref(demand));
            let read: Selector = made.to_string().parse().unwrap();
            for labels in [labels(&[]), labels(&[("rack", "one")]), labels(&[("rack", "three")])] {
                assert_eq!(made.matches(&labels), read.matches(&labels), "{made} {labels:?}");
            }
        }
        assert_eq!(Selector::requiring(&[]), Selector::all());
        let all = Selector::requiring(&demands[1..2]).to_string();
        assert_eq!(all, "rack in {'one', 'two'}");
    }

    #[test]
    fn no_labels_match_without_one_of_the_clues() {
        let cases = [
            ("all()", None),
            ("!has(a)", None),
            ("a != 'b'", None),
            ("a == 'b'", Some(vec![Clue::Label("a", "b")])),
            ("has(a)", Some(vec![Clue::Key("a")])),
            ("a starts with 'b'", Some(vec![Clue::Key("a")])),
            ("a in {'b', 'c'}", Some(vec![Clue::Label("a", "b"), Clue::Label("a", "c")])),
            (
                "has(x) && a in {'b', 'c'} && !has(d)",
                Some(vec![Clue::Label("a", "b"), Clue::Label("a", "c")]),
            ),
            ("a == 'b' || has(c)", Some(vec![Clue::Label("a", "b"), Clue::Key("c")])),
            ("a == 'b' || !has(c)", None),
        ];
        for (text, clues) in cases {
            let selector: Selector = text.parse().unwrap();
            assert_eq!(selector.clues(), clues, "{text}");
        }
    }

    #[test]
    fn depth_and_length_have_bounds() {
        let deep = format!("{}has(a){}", "(".repeat(400), ")".repeat(400));
        let error = deep.parse::<Selector>().unwrap_err();
        assert!(error.to_string().contains("fewer nested parentheses (at most 32)"), "{error}");
        let long = format!("has({})", "a".repeat(1100));
        assert_eq!(long.parse::<Selector>(), Err(SelectorError::TooLong));
        assert_eq!(SelectorError::TooLong.to_string(), "a selector of at most 1024 characters");
    }
}
