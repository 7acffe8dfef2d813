import Foundation
import PluginHost
import PluginTestSupport
import TestSupport
import Testing

/// The settings that a plugin describes, and what of a user's it gets.
struct PluginSettingsTests {
    let folder = TemporaryFolder()
    let services = Services()

    /// A scorer that describes the settings `list` and answers a call with those it was given.
    private func settings(_ source: String) throws -> String {
        let path = folder.file(UUID().uuidString + ".so")
        try compilePlugin(
            text: """
                #include "dmsae/dmsae.h"
                #include <math.h>
                #include <stdio.h>
                #include <string.h>
                \(source)
                static const char *const ids[] = {DMSAE_SCORER_PER_TOKEN};
                static const dmsae_descriptor about = {sizeof about, DMSAE_KIND_SCORER, "s", "S", "1", "MIT", "S", ids, 1, 0, 0,
                    list, sizeof list / sizeof list[0], 0};
                static char seen[256];
                static struct dmsae_instance { const dmsae_host *host; } only;
                static dmsae_status score(dmsae_instance *self, const dmsae_scorer_batch *b, float *s, dmsae_call *call) {
                    (void)self, (void)b, (void)s;
                    snprintf(call->error, call->error_capacity, "%s", seen);
                    return DMSAE_ERR_FAILED;
                }
                static const dmsae_scorer_per_token table = {sizeof table, 0, score};
                static const dmsae_descriptor *descriptor(const dmsae_entry *e, uint32_t i) { (void)e; return i ? NULL : &about; }
                static dmsae_status create(const dmsae_entry *e, uint32_t i, const dmsae_host *h, const dmsae_parameter *p,
                                           uint32_t n, dmsae_instance **out, dmsae_call *c) {
                    (void)e, (void)i, (void)h, (void)c;
                    for (uint32_t k = 0; k < n; k++)
                        snprintf(seen + strlen(seen), sizeof seen - strlen(seen), "%s=%s;", p[k].key, p[k].value);
                    *out = &only;
                    return DMSAE_OK;
                }
                static void destroy(dmsae_instance *i) { (void)i; }
                static const void *get(dmsae_instance *i, const char *id) { (void)i, (void)id; return &table; }
                static const dmsae_entry entry = {DMSAE_MAGIC, sizeof entry, 0, 0, 1, descriptor, create, destroy, get};
                const dmsae_entry *dmsae_plugin_entry(const dmsae_host_info *h) { (void)h; return &entry; }
                """, to: path)
        return path
    }

    private let sound = """
        static const char *const modes[] = {"fast", "slow"};
        static const dmsae_parameter_spec
            a = {sizeof a, DMSAE_PARAMETER_INTEGER, "count", "How many", "3", "tokens", 1, 10, NULL, 0, 0, 0},
            b = {sizeof b, DMSAE_PARAMETER_NUMBER, "rate", "How fast", "0.5", NULL, -INFINITY, 2, NULL, 0, 0, 0},
            c = {sizeof c, DMSAE_PARAMETER_CHOICE, "mode", "Which way", "fast", NULL, 0, 0, modes, 2, 0, 0},
            d = {sizeof d, DMSAE_PARAMETER_BOOL, "loud", "Whether to say so", "false", NULL, 0, 0, NULL, 0, 1, 0};
        static const dmsae_parameter_spec *const list[] = {&a, &b, &c, &d};
        """

    private func passed(_ path: String, _ parameters: String) -> String {
        message {
            _ = try PluginCatalog(executableFolder: folder.path).scorer(path + parameters, services: services.value)
                .scores(randomBatch(tokens: 4, latents: 5, dimensions: 2, perToken: 1))
        }
    }

    @Test func `create gets every described setting, canonical, in order, defaults filled in`() throws {
        let path = try settings(sound)
        #expect(passed(path, "").contains("count=3;rate=0.5;mode=fast;loud=false;"))
        #expect(passed(path, ",mode=slow,count=007,rate=1e-1").contains("count=7;rate=0.1;mode=slow;loud=false;"))
    }

    @Test(arguments: [
        (",cuont=1", "did you mean 'count'"), (",zzz=1", "s takes count, rate, mode, loud"),
        (",count=0", "a whole number from 1 to 10"), (",count=11", "from 1 to 10"), (",count=1.0", "a whole number"),
        (",count=99999999999999999999", "from 1 to 10"), (",count=", "a whole number"), (",count=+3", "a whole number"),
        (",rate=nan", "a number, 2 or less"), (",rate=inf", "2 or less"), (",rate=2.1", "2 or less"),
        (",mode=Fast", "fast, slow"), (",loud=1", "true or false"),
    ])
    func `what does not fit its description never reaches create`(parameters: String, part: String) throws {
        let text = passed(try settings(sound), parameters)
        #expect(text.contains(part), "\(text)")
    }

    private let lists = """
        static const char *const modes[] = {"fast", "slow"};
        static const dmsae_parameter_spec
            a = {sizeof a, DMSAE_PARAMETER_INTEGER, "layers", "Which", "3;007", NULL, 1, 10, NULL, 0, 0, DMSAE_PARAMETER_LIST},
            b = {sizeof b, DMSAE_PARAMETER_CHOICE, "modes", "How", "slow", NULL, 0, 0, modes, 2, 0, DMSAE_PARAMETER_LIST};
        static const dmsae_parameter_spec *const list[] = {&a, &b};
        """

    @Test func `a list has each element in its canonical form`() throws {
        let path = try settings(lists)
        #expect(passed(path, "").contains("layers=3;7;modes=slow;"))
        #expect(passed(path, ",layers=10,modes=fast;slow;fast").contains("layers=10;modes=fast;slow;fast;"))
    }

    @Test(arguments: [
        (",layers=1;11", "one or more of: a whole number from 1 to 10, with ';' between them"),
        (",layers=1;;2", "one or more of"), (",layers=", "one or more of"), (",modes=fast;quick", "fast, slow"),
    ])
    func `an element that does not fit never reaches create`(parameters: String, part: String) throws {
        let text = passed(try settings(lists), parameters)
        #expect(text.contains(part), "\(text)")
    }

    @Test func `a required setting is demanded`() throws {
        let path = try settings(
            """
            static const dmsae_parameter_spec a = {sizeof a, DMSAE_PARAMETER_TEXT, "word", "What to say", NULL, NULL, 0, 0,
                NULL, 0, 0, 0};
            static const dmsae_parameter_spec *const list[] = {&a};
            """)
        #expect(passed(path, "").contains("s needs word (What to say); write s,word=VALUE"))
        #expect(passed(path, ",word=hello there").contains("word=hello there;"))
    }

    @Test(arguments: [
        (#"9, "k", "D", "1", NULL, 0, 1"#, "type is 9"), (#"2, "K", "D", "1", NULL, 0, 1"#, "DMSAE-PARAM-01"),
        (#"2, "k", "", "1", NULL, 0, 1"#, "DMSAE-PARAM-01"), (#"2, "k", "D", "5", NULL, 0, 1"#, "DMSAE-PARAM-02"),
        (#"2, "k", "D", "1", NULL, 3, 1"#, "range"), (#"3, "k", "D", "1", NULL, NAN, 1"#, "range"),
        (#"4, "k", "D", "1", NULL, 0, 1"#, "no choices"),
    ])
    func `a description that breaks a rule is refused`(fields: String, part: String) throws {
        let path = try settings(
            """
            static const dmsae_parameter_spec a = {sizeof a, \(fields), NULL, 0, 0, 0};
            static const dmsae_parameter_spec *const list[] = {&a};
            """)
        let text = passed(path, "")
        #expect(text.contains(part), "\(text)")
    }
}
