use super::*;
use crate::quantity::Bytes;
use proptest::prelude::*;

const DEMO: &str = "\
apiVersion: shoal.dev/v1alpha1
kind: Pool
metadata:
  name: demo
spec:
  mode: storage
  shards: 4
  memory: 1GiB
";

#[test]
fn several_documents_and_their_lines() {
    let text = format!("# all of it\n---\n{DEMO}---\n# nothing\n---\n{}...\n", DEMO.replace("demo", "other"));
    let declared = from_yaml("all.yaml", &text).unwrap();
    let found: Vec<_> = declared.iter().map(|declared| (declared.resource.name(), declared.line)).collect();
    assert_eq!(found, [("demo", 2), ("other", 13)]);
    let Resource::Pool(pool) = &declared[0].resource else { panic!("a pool") };
    assert_eq!((pool.spec.shards, pool.spec.memory), (4, Bytes::gib(1)));
}

#[test]
fn json_is_read_too() {
    let json = serde_json::to_string_pretty(&from_yaml("a", DEMO).unwrap()[0].resource).unwrap();
    assert_eq!(from_yaml("a", &json).unwrap(), from_yaml("a", DEMO).unwrap());
}

#[test]
fn what_is_written_is_read_again() {
    let declared = from_yaml("demo.yaml", DEMO).unwrap();
    let written = to_yaml(&declared[0].resource).unwrap();
    assert_eq!(from_yaml("again", &written).unwrap()[0].resource, declared[0].resource, "{written}");
}

#[test]
fn says_where_and_what_was_meant() {
    for (right, wrong, expected) in [
        (
            "  shards: 4",
            "  shard: 4",
            "demo.yaml line 7: spec: unknown field `shard`, did you mean `shards`?",
        ),
        (
            "mode: storage",
            "mode: storag",
            "demo.yaml line 6: spec.mode: `storag` is not known, did you mean `storage`?",
        ),
        (
            "  memory: 1GiB",
            "  memory: 1gb",
            "demo.yaml line 8: spec.memory: \"1gb\" is no amount of memory: did you mean 1GiB?",
        ),
        ("  shards: 4\n", "", "demo.yaml line 7: spec: `shards` is missing"),
        ("shards: 4", "shards: four", "demo.yaml line 7: spec.shards: "),
        ("shards: 4", "shards: -1", "demo.yaml line 7: spec.shards: "),
        (
            "kind: Pool",
            "kind: Poool",
            "demo.yaml line 2: kind: there is no kind \"Poool\": did you mean Pool?",
        ),
        ("kind: Pool\n", "", "demo.yaml line 1: kind: it is missing"),
        (
            "v1alpha1",
            "v1",
            "demo.yaml line 1: apiVersion: \"shoal.dev/v1\" is not known: write shoal.dev/v1alpha1",
        ),
        (
            "  name: demo",
            "  nmae: demo",
            "demo.yaml line 4: metadata: unknown field `nmae`, did you mean `name`?",
        ),
        ("spec:", "sepc:", "demo.yaml line 5: unknown field `sepc`, did you mean `spec`?"),
        (
            "  memory: 1GiB",
            "  memory: 1GiB\n  proxies:\n    cout: 3",
            "demo.yaml line 10: spec.proxies: unknown field `cout`, did you mean `count`?",
        ),
        ("  memory: 1GiB", "  hash: md6", "demo.yaml line 8: spec.hash: "),
        ("  shards: 4", "  shards: 4\n  shards: 5", "demo.yaml line 8: `shards` stands twice"),
        ("  shards: 4", "  shards: [4", "demo.yaml line "),
        (
            "  memory: 1GiB",
            "  password: secret1",
            "demo.yaml line 8: spec: unknown field `password`, there are ",
        ),
    ] {
        assert!(DEMO.contains(right), "{right}");
        let error = from_yaml("demo.yaml", &DEMO.replace(right, wrong)).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}\n{expected}");
        assert!(!error.contains("secret1"), "{error}");
    }
}

#[test]
fn the_second_document_s_lines_are_the_file_s() {
    let text = format!("{DEMO}---\n{}", DEMO.replace("shards", "shads"));
    let error = from_yaml("two.yaml", &text).unwrap_err().to_string();
    assert!(error.starts_with("two.yaml line 16: spec: unknown field `shads`"), "{error}");
}

#[test]
fn aliases_do_not_grow_without_bound() {
    let mut text =
        String::from("apiVersion: shoal.dev/v1alpha1\nkind: Pool\nmetadata:\n  name: demo\n  a: &a [x, x]\n");
    for (this, last) in ('b'..'z').zip('a'..'y') {
        text.push_str(&format!("  {this}: &{this} [*{last}, *{last}, *{last}, *{last}]\n"));
    }
    from_yaml("bomb.yaml", &text).unwrap_err();
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "(apiVersion: shoal.dev/v1alpha1\n|kind: (Pool|Node)\n|---\n|spec:\n|  [a-z]{1,8}: .{0,8}\n|.{0,10}\n){0,12}") {
        let _ = from_yaml("any", &text);
    }
}
