//! Reading numpy's `.npz`: a zip of `.npy` arrays (numpy's NEP 1; PKWARE APPNOTE for the zip).
//!
//! Written here rather than taken: a table comes from outside, and the sizes it states must not be
//! believed before they are held against the bytes that are there.

use std::collections::BTreeMap;
use std::io::Read;

use flate2::read::DeflateDecoder;

/// The largest array read, unpacked. A sweep is some kilobytes; more is a bomb or a mistake.
const LARGEST: u64 = 64 << 20;

/// An array, flattened in row order.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Array {
    /// The extent of each dimension; empty for a scalar.
    pub(super) shape: Vec<usize>,
    /// The elements.
    pub(super) data: Data,
}

/// The elements of an array.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Data {
    /// Floats and integers, widened.
    Numbers(Vec<f64>),
    /// Text.
    Text(Vec<String>),
    /// A type that is not read; its numpy name.
    Other(String),
}

/// The arrays of an archive by name (without `.npy`), or what is wrong with it.
pub(super) fn read(bytes: &[u8]) -> Result<BTreeMap<String, Array>, String> {
    let mut arrays = BTreeMap::new();
    for entry in entries(bytes)? {
        let unpacked = unpack(bytes, &entry)?;
        let array = decode_npy(&unpacked).map_err(|e| format!("{}: {e}", entry.name))?;
        arrays.insert(entry.name.trim_end_matches(".npy").to_owned(), array);
    }
    Ok(arrays)
}

/// One file of the zip.
struct Entry {
    name: String,
    method: u16,
    packed: usize,
    unpacked: u64,
    header: usize,
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at.checked_add(2)?)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

fn usize_at(bytes: &[u8], at: usize) -> Option<usize> {
    usize::try_from(u32_at(bytes, at)?).ok()
}

/// The central directory, found from the end of the file.
fn entries(bytes: &[u8]) -> Result<Vec<Entry>, String> {
    if bytes.is_empty() {
        return Err("the file is empty".to_owned());
    }
    if !bytes.starts_with(b"PK") {
        return Err("it does not begin like a zip archive".to_owned());
    }
    let end = bytes
        .windows(4)
        .rposition(|w| w == b"PK\x05\x06")
        .ok_or("its zip directory is missing, as in a file cut short")?;
    directory(bytes, end).ok_or_else(|| "its zip directory is damaged".to_owned())
}

fn directory(bytes: &[u8], end: usize) -> Option<Vec<Entry>> {
    let count = u16_at(bytes, end + 10)?;
    let mut at = usize_at(bytes, end + 16)?;
    let mut out = Vec::new();
    for _ in 0..count {
        if bytes.get(at..at.checked_add(4)?)? != b"PK\x01\x02" {
            return None;
        }
        let name_len = usize::from(u16_at(bytes, at + 28)?);
        let skip = usize::from(u16_at(bytes, at + 30)?) + usize::from(u16_at(bytes, at + 32)?);
        let name = bytes.get(at + 46..at.checked_add(46 + name_len)?)?;
        out.push(Entry {
            name: String::from_utf8_lossy(name).into_owned(),
            method: u16_at(bytes, at + 10)?,
            packed: usize_at(bytes, at + 20)?,
            unpacked: u64::from(u32_at(bytes, at + 24)?),
            header: usize_at(bytes, at + 42)?,
        });
        at = at.checked_add(46 + name_len + skip)?;
    }
    Some(out)
}

fn unpack(bytes: &[u8], entry: &Entry) -> Result<Vec<u8>, String> {
    let name = &entry.name;
    if entry.unpacked > LARGEST {
        return Err(format!("{name} would unpack to {} bytes, over the limit", entry.unpacked));
    }
    let packed = (|| {
        let at = entry.header;
        if bytes.get(at..at.checked_add(4)?)? != b"PK\x03\x04" {
            return None;
        }
        let skip = usize::from(u16_at(bytes, at + 26)?) + usize::from(u16_at(bytes, at + 28)?);
        let start = at.checked_add(30 + skip)?;
        bytes.get(start..start.checked_add(entry.packed)?)
    })()
    .ok_or_else(|| format!("{name} is cut short"))?;
    let mut out = Vec::new();
    match entry.method {
        0 => out.extend_from_slice(packed),
        8 => {
            DeflateDecoder::new(packed)
                .take(LARGEST)
                .read_to_end(&mut out)
                .map_err(|e| format!("{name} does not unpack: {e}"))?;
        }
        other => return Err(format!("{name} is packed by method {other}; only 0 and 8 are read")),
    }
    if u64::try_from(out.len()) != Ok(entry.unpacked) {
        return Err(format!("{name} unpacks to {} bytes, not {}", out.len(), entry.unpacked));
    }
    Ok(out)
}

fn decode_npy(bytes: &[u8]) -> Result<Array, String> {
    let (header, body) = split_header(bytes).ok_or("it does not begin like a .npy array")?;
    let header = std::str::from_utf8(header).map_err(|_| "its header is not text".to_owned())?;
    let dtype = quoted(header, "descr").ok_or("its header names no simple element type")?;
    let shape = shape(header).ok_or("its header names no shape")?;
    let column_order = after(header, "fortran_order").is_some_and(|v| v.starts_with("True"));
    let count =
        shape.iter().try_fold(1_usize, |n, &d| n.checked_mul(d)).ok_or("its shape is absurd")?;
    let data = decode_elements(dtype, count, body)?;
    let data = match data {
        Data::Numbers(v) if column_order && shape.len() == 2 => {
            Data::Numbers(transposed(&v, shape[0], shape[1]))
        }
        data @ (Data::Numbers(_) | Data::Text(_) | Data::Other(_)) => data,
    };
    Ok(Array { shape, data })
}

fn split_header(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = bytes.strip_prefix(b"\x93NUMPY")?;
    let (len, start) = match rest.first()? {
        1 => (usize::from(u16_at(rest, 2)?), 4),
        2 | 3 => (usize_at(rest, 2)?, 6),
        _ => return None,
    };
    let end = len.checked_add(start)?;
    Some((rest.get(start..end)?, &rest[end..]))
}

/// What follows `'key':` in a header, which is the text of a Python dict.
fn after<'a>(header: &'a str, key: &str) -> Option<&'a str> {
    let at = header.find(&format!("'{key}'"))?;
    header[at..].split_once(':').map(|(_, rest)| rest.trim_start())
}

fn quoted<'a>(header: &'a str, key: &str) -> Option<&'a str> {
    after(header, key)?.strip_prefix('\'')?.split('\'').next()
}

fn shape(header: &str) -> Option<Vec<usize>> {
    let (inside, _) = after(header, "shape")?.strip_prefix('(')?.split_once(')')?;
    inside
        .split(',')
        .map(str::trim)
        .filter(|s| !s.is_empty())
        .map(|s| s.trim_end_matches('L').parse().ok())
        .collect()
}

fn decode_elements(dtype: &str, count: usize, body: &[u8]) -> Result<Data, String> {
    let big = dtype.starts_with('>');
    let kind = dtype.trim_start_matches(['<', '>', '|', '=']);
    let (letter, size) = kind.split_at(kind.chars().next().map_or(0, char::len_utf8));
    let Ok(size) = size.parse::<usize>() else { return Ok(Data::Other(dtype.to_owned())) };
    let width = if letter == "U" { size.saturating_mul(4) } else { size };
    let convert: fn([u8; 8]) -> f64 = match (letter, size) {
        ("f", 8) => f64::from_le_bytes,
        ("f", 4) => |b| f64::from(f32::from_le_bytes([b[0], b[1], b[2], b[3]])),
        ("i", 8) => |b| i64::from_le_bytes(b) as f64,
        ("i", 4) => |b| f64::from(i32::from_le_bytes([b[0], b[1], b[2], b[3]])),
        ("i", 2) => |b| f64::from(i16::from_le_bytes([b[0], b[1]])),
        ("u", 8) => |b| u64::from_le_bytes(b) as f64,
        ("u", 4) => |b| f64::from(u32::from_le_bytes([b[0], b[1], b[2], b[3]])),
        ("u", 2) => |b| f64::from(u16::from_le_bytes([b[0], b[1]])),
        ("U", _) => |_| 0.0,
        _ => return Ok(Data::Other(dtype.to_owned())),
    };
    let need = count.checked_mul(width).ok_or("its shape is absurd")?;
    let body = body
        .get(..need)
        .ok_or_else(|| format!("it holds {} bytes where its shape needs {need}", body.len()))?;
    if letter == "U" {
        let cell = |c: &[u8]| text(c, big);
        // `chunks_exact` refuses a width of 0: empty strings take no bytes.
        return Ok(Data::Text(match width {
            0 => Vec::new(),
            w => body.chunks_exact(w).map(cell).collect(),
        }));
    }
    let number = |cell: &[u8]| {
        let mut word = [0; 8];
        for (k, &b) in cell.iter().enumerate() {
            word[if big { cell.len() - 1 - k } else { k }] = b;
        }
        convert(word)
    };
    Ok(Data::Numbers(body.chunks_exact(width.max(1)).map(number).collect()))
}

fn text(cell: &[u8], big: bool) -> String {
    cell.chunks_exact(4)
        .map(|c| [c[0], c[1], c[2], c[3]])
        .map(|c| if big { u32::from_be_bytes(c) } else { u32::from_le_bytes(c) })
        .take_while(|&c| c != 0)
        .map(|c| char::from_u32(c).unwrap_or(char::REPLACEMENT_CHARACTER))
        .collect()
}

fn transposed(v: &[f64], rows: usize, columns: usize) -> Vec<f64> {
    (0..rows).flat_map(|r| (0..columns).map(move |c| v[c * rows + r])).collect()
}
