//! The serial form of an engine's tables, as a decision record carries them.
//!
//! It is the one-file JSON form that [`EngineProfile::from_files`] reads, with `place` beside it: what
//! was measured, not what was made of it. Reading it builds the curves anew from the same numbers, so
//! that every answer is the same to the last bit.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::engine::{EngineProfile, Meta};
use super::fields::Fields;
use crate::units::{Gpus, PerSecond};

/// The columns by their names in Dynamo's files; units as in [`super::PrefillPoint`] and
/// [`super::DecodePoint`].
#[derive(Serialize, Deserialize)]
struct Tables {
    place: String,
    model: Option<String>,
    gpus_per_engine: Option<Gpus>,
    prefill_isl: Vec<f64>,
    prefill_ttft: Vec<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    prefill_thpt_per_gpu: Option<Vec<f64>>,
    x_kv_usage: Vec<f64>,
    y_context_length: Vec<f64>,
    z_itl: Vec<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    z_thpt_per_gpu: Option<Vec<f64>>,
    max_kv_tokens: f64,
}

impl Serialize for EngineProfile {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        fn column<P>(points: &[P], value: impl Fn(&P) -> f64) -> Vec<f64> {
            points.iter().map(value).collect()
        }
        // A table has a throughput at every point or at none.
        fn throughput<P>(
            points: &[P],
            value: impl Fn(&P) -> Option<PerSecond>,
        ) -> Option<Vec<f64>> {
            points.iter().map(|p| value(p).map(PerSecond::get)).collect()
        }
        let (prefill, decode) = (self.prefill_points(), self.decode_points());
        Tables {
            place: self.place().to_owned(),
            model: self.model().map(str::to_owned),
            gpus_per_engine: self.gpus_stated(),
            prefill_isl: column(prefill, |p| p.isl.get()),
            prefill_ttft: column(prefill, |p| p.ttft.get()),
            prefill_thpt_per_gpu: throughput(prefill, |p| p.throughput_per_gpu),
            x_kv_usage: column(decode, |p| p.kv_usage),
            y_context_length: column(decode, |p| p.context.get()),
            z_itl: column(decode, |p| p.itl.get()),
            z_thpt_per_gpu: throughput(decode, |p| p.throughput_per_gpu),
            max_kv_tokens: self.decode().max_kv_tokens().get(),
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for EngineProfile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Tables {
            place,
            model,
            gpus_per_engine,
            prefill_isl,
            prefill_ttft,
            prefill_thpt_per_gpu,
            x_kv_usage,
            y_context_length,
            z_itl,
            z_thpt_per_gpu,
            max_kv_tokens,
        } = Tables::deserialize(deserializer)?;
        let mut prefill = vec![("prefill_isl", prefill_isl), ("prefill_ttft", prefill_ttft)];
        prefill.extend(prefill_thpt_per_gpu.map(|column| ("prefill_thpt_per_gpu", column)));
        let mut decode = vec![
            ("x_kv_usage", x_kv_usage),
            ("y_context_length", y_context_length),
            ("z_itl", z_itl),
            ("max_kv_tokens", vec![max_kv_tokens]),
        ];
        decode.extend(z_thpt_per_gpu.map(|column| ("z_thpt_per_gpu", column)));
        let [prefill, decode] =
            [prefill, decode].map(|columns| Fields::from_columns(&place, &columns));
        let meta = Meta { model, gpus: gpus_per_engine.filter(|n| n.get() > 0) };
        Self::build(place, &prefill, &decode, meta).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::profile::{ProfileFile, ProfileFiles, library};
    use crate::units::Tokens;

    fn again(profile: &EngineProfile) -> EngineProfile {
        serde_json::from_str(&serde_json::to_string(profile).unwrap()).unwrap()
    }

    /// The bits of what a profile answers inside and outside its data.
    fn answers(profile: &EngineProfile) -> Vec<u64> {
        let steps: Vec<f64> = (0..50).map(|i| 1.3_f64.powi(i)).collect();
        let fit = profile.prefill().fit();
        let mut out = vec![fit.a, fit.b, fit.c];
        for &x in &steps {
            out.push(profile.prefill().ttft(x).value.get());
            out.extend(steps.iter().map(|&c| profile.decode().itl(x, c).value.get()));
        }
        out.into_iter().map(f64::to_bits).collect()
    }

    #[test]
    fn every_shipped_profile_comes_back_with_the_same_answers_to_the_last_bit() {
        for name in library::names() {
            let profile = library::get(name).unwrap();
            let back = again(&profile);
            assert_eq!(back, profile, "{name}");
            assert_eq!(answers(&back), answers(&profile), "{name}");
        }
    }

    #[test]
    fn the_form_is_a_profile_file_that_every_command_reads() {
        let profile = library::get(library::DEFAULT).unwrap();
        let file = ProfileFile {
            name: "cut-out.json".to_owned(),
            bytes: serde_json::to_vec(&profile).unwrap(),
        };
        let files =
            ProfileFiles { place: "cut-out.json".into(), files: vec![file], row: Vec::new() };
        let read = EngineProfile::from_files(&files).unwrap();
        assert_eq!(answers(&read), answers(&profile));
        assert_eq!(read.gpus_stated(), profile.gpus_stated());
        assert_eq!(read.model(), profile.model());
    }

    #[test]
    fn what_is_no_profile_is_refused_by_its_place() {
        let profile = library::get(library::DEFAULT).unwrap();
        let mut value = serde_json::to_value(&profile).unwrap();
        value["z_itl"][2] = serde_json::json!(-1.0);
        let error = serde_json::from_value::<EngineProfile>(value).unwrap_err().to_string();
        assert!(error.contains("z_itl[2]: found -1"), "{error}");
    }

    proptest! {
        #[test]
        fn any_points_come_back_as_they_were(
            prefill in prop::collection::vec((1.0..1e5_f64, 1e-3..1e5_f64), 1..9),
            decode in prop::collection::vec((0.5..200.0_f64, 1.0..5e3_f64, 1e-3..1e3_f64), 1..12),
        ) {
            let kv = Tokens::clamped(1e6);
            let profile = EngineProfile::from_points(&prefill, &decode, kv).unwrap();
            let back = again(&profile);
            prop_assert_eq!(answers(&back), answers(&profile));
            prop_assert_eq!(back.prefill(), profile.prefill());
            prop_assert_eq!(back.decode(), profile.decode());
            prop_assert_eq!(back.decode_points(), profile.decode_points());
        }
    }
}
