use std::io::{Read, Write};

use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;

use super::*;

const CSV: &str = "timestamp_ms,input_length,output_length\n0,374,44\n4315,396,109\n";

fn read(text: impl AsRef<[u8]>) -> Result<Vec<Request>, TraceError> {
    Reader::new(text.as_ref())?.collect()
}

fn error_of(text: impl AsRef<[u8]>) -> String {
    read(text).unwrap_err().to_string()
}

fn gzip(data: impl AsRef<[u8]>) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(data.as_ref()).unwrap();
    encoder.finish().unwrap()
}

fn request(at: i64, isl: u32, osl: u32, prefix_hit: Option<u32>) -> Request {
    Request { at: Timestamp::from_millis(at), isl, osl, prefix_hit }
}

#[test]
fn csv_with_and_without_prefix_hits() {
    assert_eq!(read(CSV).unwrap(), [request(0, 374, 44, None), request(4315, 396, 109, None)]);
    let with_hits = "timestamp_ms,input_length,output_length,prefix_hit_length\n7,40160,6,512\n";
    assert_eq!(read(with_hits).unwrap(), [request(7, 40_160, 6, Some(512))]);
}

#[test]
fn mooncake_lines_with_their_hash_ids() {
    let text = r#"{"timestamp": 27482, "input_length": 6955, "output_length": 52, "hash_ids": [46, 47]}
{"timestamp": 30535.0, "input_length": 6472, "output_length": 26, "prefix_hit_length": 64}"#;
    assert_eq!(
        read(text).unwrap(),
        [request(27_482, 6955, 52, None), request(30_535, 6472, 26, Some(64))]
    );
}

#[test]
fn gzip_is_seen_by_its_first_bytes_and_may_have_members() {
    assert_eq!(read(gzip(CSV)).unwrap().len(), 2);
    let mut members = gzip(CSV);
    members.extend(gzip("5000,1,1\n"));
    assert_eq!(read(members).unwrap().len(), 3);
}

#[test]
fn line_ends_of_other_systems_blank_lines_and_a_mark_are_read_over() {
    let text = "\u{feff}timestamp_ms,input_length,output_length\r\n\r\n0,1,2\r\n \n5,3,4\r\n\n";
    assert_eq!(read(text).unwrap(), [request(0, 1, 2, None), request(5, 3, 4, None)]);
}

#[test]
fn a_source_that_gives_one_byte_at_a_time_is_read() {
    struct Dribble<'a>(&'a [u8]);
    impl Read for Dribble<'_> {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            let n = self.0.len().min(1).min(buf.len());
            buf[..n].copy_from_slice(&self.0[..n]);
            self.0 = &self.0[n..];
            Ok(n)
        }
    }
    for data in [CSV.as_bytes().to_vec(), gzip(CSV)] {
        let reader = Reader::new(BufReader::new(Dribble(&data))).unwrap();
        assert_eq!(reader.map(Result::unwrap).count(), 2);
    }
}

#[test]
fn what_is_wrong_is_told_with_its_line_and_field() {
    let csv = |rows: &str| error_of(format!("timestamp_ms,input_length,output_length\n{rows}"));
    let json = |line: &str| {
        error_of(format!("{{\"timestamp\":0,\"input_length\":1,\"output_length\":1}}\n{line}"))
    };
    let errors = [
        error_of(""),
        error_of(" \n\n"),
        error_of("session,timestamp_ms,input_length,output_length\n"),
        error_of("0,1,2\n"),
        csv("0,1,2\n-5,1,2\n"),
        csv("10,1,2\n5,1,2\n"),
        csv("0,1,0\n"),
        csv("0,1\n"),
        csv("0,,2\n"),
        csv("0,1,2,3\n"),
        csv("0,1,many\n"),
        csv("0.5,1,2\n"),
        csv("0,99999999999,2\n"),
        error_of("timestamp_ms,input_length,output_length,prefix_hit_length\n0,10,1,11\n"),
        json("{\"timestamp\":1,\"output_length\":1}"),
        json("{\"timestamp\":1,\"input_length\":\"x\",\"output_length\":1}"),
        json("{\"timestamp\":1,\"input_length\":1,\"output_length\":-1}"),
        json("{\"timestamp\":1.5,\"input_length\":1,\"output_length\":1}"),
        json("{\"timestamp\":1,\"input_len"),
        error_of(b"timestamp_ms,input_length,output_length\n\xff,1,1\n"),
    ];
    insta::assert_snapshot!(errors.join("\n"));
}

#[test]
fn dates_for_times_are_refused_with_what_to_do() {
    let late = "{\"timestamp\":1700000000000,\"input_length\":1,\"output_length\":1}\n";
    let text = error_of(late);
    assert_eq!(
        text,
        "read line 1 of the trace: field timestamp: expected milliseconds from the start of the \
         trace, found a first arrival after 1700000000000 ms, more than 366 days (subtract the \
         first time from all of them)"
    );
    let day = 86_400_000_i64;
    let csv = |at: i64| format!("timestamp_ms,input_length,output_length\n{at},1,1\n");
    assert!(error_of(csv(366 * day + 1)).starts_with("read line 2 of the trace: field"));
    assert_eq!(read(csv(366 * day)).unwrap().len(), 1);
    // Only the beginning is judged: a trace may be long.
    assert_eq!(read(format!("{}{},1,1\n", csv(0), 400 * day)).unwrap().len(), 2);
}

#[test]
fn a_gzip_file_that_was_cut_off_is_refused() {
    let rows: String = (0..5000).map(|i| format!("{i},{},7\n", i * 37 % 4001)).collect();
    let whole = gzip(format!("timestamp_ms,input_length,output_length\n{rows}"));
    assert_eq!(read(&whole).unwrap().len(), 5000);
    let text = error_of(&whole[..whole.len() / 2]);
    assert!(text.contains("the gzip data ends before its end"), "{text}");
    let text = error_of(&whole[..5]);
    assert!(text.contains("the gzip data ends before its end"), "{text}");
}

#[test]
fn a_line_without_end_is_refused_before_it_fills_the_memory() {
    let text = error_of(vec![b'{'; 3 << 20]);
    assert_eq!(text, "read line 1 of the trace: expected a line of at most 1048576 bytes");
}

#[test]
fn nothing_follows_an_error() {
    let text = "timestamp_ms,input_length,output_length\n5,1,1\n0,1,1\n6,1,1\n";
    let mut reader = Reader::new(text.as_bytes()).unwrap();
    assert!(reader.next().unwrap().is_ok());
    assert!(reader.next().unwrap().is_err());
    assert!(reader.next().is_none());
}

#[test]
fn the_example_trace_is_read_whole() {
    let trace = include_bytes!("../../examples/traces/azure-2023-conv-10min.jsonl");
    let requests = read(trace).unwrap();
    assert_eq!(requests.len(), 2867);
    assert!(requests.last().unwrap().at < Timestamp::from_millis(600_000));
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        mut rows in prop::collection::vec((0i64..1 << 34, 0u32.., 1u32.., 0u32..100), 1..50),
        compressed: bool,
    ) {
        rows.sort_unstable();
        let expected: Vec<Request> = rows
            .iter()
            .map(|&(at, isl, osl, hit)| request(at, isl, osl, Some(hit.min(isl))))
            .collect();
        let csv: String = expected
            .iter()
            .map(|r| {
                let hit = r.prefix_hit.unwrap();
                format!("{},{},{},{hit}\n", r.at.as_millis(), r.isl, r.osl)
            })
            .collect();
        let csv = format!("timestamp_ms,input_length,output_length,prefix_hit_length\n{csv}");
        let data = if compressed { gzip(&csv) } else { csv.into_bytes() };
        prop_assert_eq!(&read(data).unwrap(), &expected);

        let json: String = expected
            .iter()
            .map(|r| {
                format!(
                    "{{\"timestamp\":{},\"input_length\":{},\"output_length\":{},\
                     \"prefix_hit_length\":{}}}\n",
                    r.at.as_millis(), r.isl, r.osl, r.prefix_hit.unwrap()
                )
            })
            .collect();
        prop_assert_eq!(&read(json).unwrap(), &expected);
    }

    #[test]
    fn no_bytes_make_it_panic(data in prop::collection::vec(any::<u8>(), 0..200)) {
        drop(read(&data));
        drop(read([CSV.as_bytes(), &data].concat()));
    }
}
