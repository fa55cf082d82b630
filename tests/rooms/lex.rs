//! As much of Rust's grammar as it takes to see which names a file uses.

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Ident(String),
    Text(String),
    PathSep,
    Punct(char),
}

#[derive(Clone, Debug)]
pub(crate) struct Token {
    kind: Kind,
    line: usize,
}

impl Token {
    fn is(&self, c: char) -> bool {
        self.kind == Kind::Punct(c)
    }

    fn ident(&self) -> Option<&str> {
        match &self.kind {
            Kind::Ident(name) => Some(name),
            Kind::Text(_) | Kind::PathSep | Kind::Punct(_) => None,
        }
    }
}

/// The tokens of a file without comments, lifetimes and numbers.
pub(crate) fn tokens(text: &str) -> Vec<Token> {
    let chars: Vec<char> = text.chars().collect();
    let at = |i: usize| chars.get(i).copied().unwrap_or('\0');
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let (mut out, mut i, mut line) = (Vec::new(), 0, 1);
    while i < chars.len() {
        let (c, from, begun) = (at(i), i, line);
        if c == '/' && at(i + 1) == '/' {
            while i < chars.len() && at(i) != '\n' {
                i += 1;
            }
        } else if c == '/' && at(i + 1) == '*' {
            let mut depth = 0;
            loop {
                match (at(i), at(i + 1)) {
                    ('/', '*') => (depth, i) = (depth + 1, i + 2),
                    ('*', '/') => (depth, i) = (depth - 1, i + 2),
                    _ => i += 1,
                }
                if depth == 0 || i >= chars.len() {
                    break;
                }
            }
        } else if let Some((quote, hashes)) = raw_string(&chars, i) {
            i = quote + 1;
            let end = |i: usize| at(i) == '"' && (1..=hashes).all(|n| at(i + n) == '#');
            while i < chars.len() && !end(i) {
                i += 1;
            }
            i += 1 + hashes;
            out.push(Token { kind: Kind::Text(String::new()), line: begun });
        } else if c == '"' {
            i += 1;
            while i < chars.len() && at(i) != '"' {
                i += if at(i) == '\\' { 2 } else { 1 };
            }
            let inner = chars[from + 1..i.min(chars.len())].iter().collect();
            i += 1;
            out.push(Token { kind: Kind::Text(inner), line: begun });
        } else if c == '\'' && at(i + 1) == '\\' {
            i += 3;
            while i < chars.len() && at(i) != '\'' {
                i += 1;
            }
            i += 1;
        } else if c == '\'' && at(i + 2) == '\'' {
            i += 3;
        } else if c == '\'' {
            // A lifetime.
            i += 1;
            while is_word(at(i)) {
                i += 1;
            }
        } else if c.is_ascii_digit() {
            while is_word(at(i)) {
                i += 1;
            }
        } else if is_word(c) {
            if c == 'r' && at(i + 1) == '#' {
                i += 2;
            }
            let from = i;
            while is_word(at(i)) {
                i += 1;
            }
            out.push(Token { kind: Kind::Ident(chars[from..i].iter().collect()), line });
        } else if c == ':' && at(i + 1) == ':' {
            i += 2;
            out.push(Token { kind: Kind::PathSep, line });
        } else {
            i += 1;
            if !c.is_whitespace() {
                out.push(Token { kind: Kind::Punct(c), line });
            }
        }
        line += chars[from..i.min(chars.len())].iter().filter(|c| **c == '\n').count();
    }
    out
}

/// Where the quote of a raw string is that begins here, and its number of `#`.
fn raw_string(chars: &[char], i: usize) -> Option<(usize, usize)> {
    let at = |i: usize| chars.get(i).copied().unwrap_or('\0');
    let r = match (at(i), at(i + 1)) {
        ('r', _) => i,
        ('b' | 'c', 'r') => i + 1,
        _ => return None,
    };
    let hashes = (r + 1..).take_while(|i| at(*i) == '#').count();
    (at(r + 1 + hashes) == '"').then_some((r + 1 + hashes, hashes))
}

/// A module that is built for tests only and has a file of its own.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TestModule {
    pub(crate) name: String,
    pub(crate) path: Option<String>,
}

/// A file without the parts that are built for tests only.
pub(crate) struct Code {
    pub(crate) tokens: Vec<Token>,
    pub(crate) test_modules: Vec<TestModule>,
}

pub(crate) fn without_tests(tokens: Vec<Token>) -> Code {
    let mut code = Code { tokens: Vec::new(), test_modules: Vec::new() };
    let mut i = 0;
    while i < tokens.len() {
        if tokens[i].is('#')
            && let Some((inner, end)) = attribute(&tokens, i)
            && is_cfg_test(inner)
        {
            if tokens[i + 1].is('!') {
                // `#![cfg(test)]`: all that follows.
                return code;
            }
            i = skip_item(&tokens, end, &mut code.test_modules);
        } else {
            code.tokens.push(tokens[i].clone());
            i += 1;
        }
    }
    code
}

/// What stands inside the brackets of an attribute, and where it ends.
fn attribute(tokens: &[Token], i: usize) -> Option<(&[Token], usize)> {
    let open = i + 1 + usize::from(tokens.get(i + 1)?.is('!'));
    if !tokens.get(open)?.is('[') {
        return None;
    }
    let mut depth = 0;
    for (n, token) in tokens.iter().enumerate().skip(open) {
        depth += isize::from(token.is('[')) - isize::from(token.is(']'));
        if depth == 0 {
            return Some((&tokens[open + 1..n], n + 1));
        }
    }
    None
}

/// `cfg(test)` and `cfg(all(test, …))`, which are built for tests only.
fn is_cfg_test(inner: &[Token]) -> bool {
    let words: Vec<&str> = inner.iter().filter_map(Token::ident).collect();
    match words.as_slice() {
        ["cfg", "test"] => true,
        ["cfg", "all", rest @ ..] => {
            rest.contains(&"test") && !rest.contains(&"not") && !rest.contains(&"any")
        }
        _ => false,
    }
}

/// The end of the item that begins at `i`.
fn skip_item(tokens: &[Token], mut i: usize, modules: &mut Vec<TestModule>) -> usize {
    let mut path = None;
    while i < tokens.len()
        && tokens[i].is('#')
        && let Some((inner, end)) = attribute(tokens, i)
    {
        if let [key, _, Token { kind: Kind::Text(text), .. }] = inner
            && key.ident() == Some("path")
        {
            path = Some(text.clone());
        }
        i = end;
    }
    let from = i;
    let word = |n: usize| tokens.get(from + n).and_then(Token::ident);
    // `use a::{b};` and `const A: B = B {};` go on after their braces.
    let mut to_semicolon = false;
    let mut depth = 0_usize;
    while let Some(token) = tokens.get(i) {
        match token.ident() {
            Some("use" | "static") if depth == 0 => to_semicolon = true,
            Some("const" | "type" | "let") if depth == 0 => {
                to_semicolon = tokens.get(i + 1).and_then(Token::ident) != Some("fn");
            }
            _ => {}
        }
        match token.kind {
            Kind::Punct('{' | '(' | '[') => depth += 1,
            // The item was a field or an arm, and the last of its list.
            Kind::Punct('}' | ')' | ']') if depth == 0 => return i,
            Kind::Punct('}' | ')' | ']') => depth -= 1,
            Kind::Punct(_) | Kind::Ident(_) | Kind::Text(_) | Kind::PathSep => {}
        }
        i += 1;
        let ends = token.is(';') || (token.is('}') && !to_semicolon) || token.is(',');
        if depth == 0 && ends {
            if token.is(';')
                && let Some(n) = (0..5).find(|n| word(*n) == Some("mod"))
                && let Some(name) = word(n + 1)
            {
                modules.push(TestModule { name: name.to_owned(), path });
            }
            return i;
        }
    }
    i
}

/// A path as it is written, or one leaf of a `use` tree.
#[derive(Debug)]
pub(crate) struct Used {
    pub(crate) segments: Vec<String>,
    pub(crate) line: usize,
    /// The path from the root of our crate, where it is one of ours.
    pub(crate) inside: Option<Vec<String>>,
}

impl Used {
    pub(crate) fn text(&self) -> String {
        self.segments.join("::")
    }
}

/// Every path in the tokens of a file that is the module `module`.
pub(crate) fn paths(tokens: &[Token], module: &[String]) -> Vec<Used> {
    let mut module = module.to_vec();
    let mut opened = Vec::new();
    let (mut out, mut i, mut depth) = (Vec::new(), 0, 0_usize);
    while i < tokens.len() {
        let token = &tokens[i];
        let before = i.checked_sub(1).map(|n| &tokens[n]);
        if token.is('{') {
            depth += 1;
        } else if token.is('}') {
            depth = depth.saturating_sub(1);
            if opened.last().is_some_and(|at| *at > depth) {
                opened.pop();
                module.pop();
            }
        } else if let Some(name) = token.ident() {
            let next = tokens.get(i + 1);
            if before.and_then(Token::ident) == Some("mod") && next.is_some_and(|t| t.is('{')) {
                module.push(name.to_owned());
                opened.push(depth + 1);
            } else if before.is_some_and(|t| t.is('('))
                && next.is_some_and(|t| t.is(')'))
                && matches!(name, "crate" | "super" | "self")
            {
                // A visibility.
            } else if !before.is_some_and(|t| t.is('.')) {
                let mut found = Vec::new();
                i = tree(tokens, i, Vec::new(), &mut found);
                out.extend(found.into_iter().map(|(segments, line)| Used {
                    inside: inside(&segments, &module),
                    segments,
                    line,
                }));
                continue;
            }
        }
        i += 1;
    }
    out
}

type Leaf = (Vec<String>, usize);

/// Reads one path, or one branch of a `use` tree, and returns where it ends.
fn tree(tokens: &[Token], mut i: usize, mut path: Vec<String>, out: &mut Vec<Leaf>) -> usize {
    loop {
        let Some(token) = tokens.get(i) else { return i };
        match &token.kind {
            Kind::Ident(name) => {
                // `{self, …}` is the module before it.
                if name != "self" || path.is_empty() {
                    path.push(name.clone());
                }
                i += 1;
                let goes_on = tokens.get(i).is_some_and(|t| t.kind == Kind::PathSep)
                    && tokens
                        .get(i + 1)
                        .is_some_and(|t| t.ident().is_some() || t.is('{') || t.is('*'));
                if !goes_on {
                    out.push((path, token.line));
                    return i;
                }
                i += 1;
            }
            Kind::Punct('*') => {
                path.push("*".into());
                out.push((path, token.line));
                return i + 1;
            }
            Kind::Punct('{') => {
                i += 1;
                while let Some(token) = tokens.get(i) {
                    if token.is('}') {
                        return i + 1;
                    }
                    let starts = token.ident().is_some_and(|name| name != "as")
                        || token.is('*')
                        || token.is('{');
                    if starts {
                        i = tree(tokens, i, path.clone(), out);
                        if tokens.get(i).and_then(Token::ident) == Some("as") {
                            i += 2;
                        }
                    } else {
                        i += 1;
                    }
                }
                return i;
            }
            Kind::Text(_) | Kind::PathSep | Kind::Punct(_) => return i + 1,
        }
    }
}

/// Where a path leads in our crate, seen from `module`; `None` for names from elsewhere.
fn inside(segments: &[String], module: &[String]) -> Option<Vec<String>> {
    let ups = segments.iter().take_while(|s| *s == "super").count();
    match segments[0].as_str() {
        "crate" | "sla_planner" => Some(segments[1..].to_vec()),
        "self" => Some([module, &segments[1..]].concat()),
        "super" => {
            let base = &module[..module.len().saturating_sub(ups)];
            Some([base, &segments[ups..]].concat())
        }
        _ => None,
    }
}
