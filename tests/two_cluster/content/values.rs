//! Types and the values at their edges. Each group is a table; each type a column; each list its
//! values, one a row.

/// A group's name, and its types with their values as text.
pub type Group = (&'static str, &'static [(&'static str, &'static [&'static str])]);

const AWKWARD: &[&str] = &[
    "",
    " ",
    "NULL",
    "\\N",
    "it's \"quoted\" and \\escaped\\",
    "tab\tnewline\nreturn\rend",
    "emoji 🦀 👩‍👩‍👧‍👦 combining e\u{301}",
    "\u{202b}שלום עולם\u{202c} مرحبا",
    "{a,b} (c,d) [1,2)",
    "\u{1}\u{7f}\u{feff}\u{fffd}",
];

/// Types that travel in binary form.
pub const BUILT_IN: &[Group] = &[
    (
        "numbers",
        &[
            ("int2", &["-32768", "-1", "0", "32767"]),
            ("int4", &["-2147483648", "-1", "0", "2147483647"]),
            ("int8", &["-9223372036854775808", "-1", "0", "9223372036854775807"]),
            (
                "numeric",
                &[
                    "NaN",
                    "Infinity",
                    "-Infinity",
                    "0",
                    "0.000",
                    "-0.00000000000000000000000000000000000000001",
                    "12345678901234567890123456789012345678901234567890.00100",
                    "1e1000",
                    "1e-1000",
                    "9999",
                    "10000",
                    "100000000.0001",
                ],
            ),
            ("numeric(12,3)", &["NaN", "-999999999.999", "0.001", "1"]),
            ("numeric(3,0)", &["NaN", "-999", "0"]),
            (
                "float4",
                &[
                    "NaN",
                    "Infinity",
                    "-Infinity",
                    "-0",
                    "0",
                    "1e-45",
                    "3.4028235e38",
                    "0.1",
                    "1.17549435e-38",
                ],
            ),
            (
                "float8",
                &[
                    "NaN",
                    "Infinity",
                    "-Infinity",
                    "-0",
                    "0",
                    "5e-324",
                    "1.7976931348623157e308",
                    "0.1",
                    "0.30000000000000004",
                ],
            ),
            ("money", &["-$92,233,720,368,547,758.08", "$0.00", "$92,233,720,368,547,758.07"]),
            ("bool", &["t", "f"]),
        ],
    ),
    (
        "texts",
        &[
            ("text", AWKWARD),
            ("varchar", AWKWARD),
            ("varchar(30)", &["", "x  ", "123456789012345678901234567890", "🦀🦀"]),
            ("char(8)", &["", "x", "🦀", "12345678"]),
            ("char", &["", "x"]),
            ("name", &["", "a name", "123456789012345678901234567890123456789012345678901234567890123"]),
            ("\"char\"", &["", "x", "\\200", "\\377"]),
            ("bytea", &["\\x", "\\x00", "\\x5c6e27220a", "\\xdeadbeef00ff"]),
            ("bit(3)", &["000", "101"]),
            ("bit varying(9)", &["", "1", "101010101"]),
            ("bit varying", &["", "1", "10101010101010101"]),
            ("uuid", &["00000000-0000-0000-0000-000000000000", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"]),
            ("refcursor", &["", "c"]),
        ],
    ),
    (
        "times",
        &[
            (
                "date",
                &["-infinity", "4713-01-01 BC", "0001-12-31 BC", "2000-01-01", "5874897-12-31", "infinity"],
            ),
            ("time", &["00:00:00", "23:59:59.999999", "24:00:00"]),
            ("time(2)", &["00:00:00", "12:34:56.78"]),
            ("timetz", &["00:00:00+15:59:59", "23:59:59.999999-15:59:59", "24:00:00+00"]),
            (
                "timestamp",
                &[
                    "-infinity",
                    "4713-01-01 00:00:00 BC",
                    "2000-01-01 00:00:00.000001",
                    "294276-12-31 23:59:59.999999",
                    "infinity",
                ],
            ),
            ("timestamp(0)", &["-infinity", "2000-01-01 00:00:01"]),
            (
                "timestamptz",
                &[
                    "-infinity",
                    "4713-01-02 00:00:00+00 BC",
                    "1970-01-01 05:30:00+05:30",
                    "294276-12-31 23:59:59.999999+00",
                    "infinity",
                ],
            ),
            (
                "interval",
                &[
                    "0",
                    "-178956970 years -8 mons",
                    "178956970 years 7 mons 2147483647 days",
                    "1 mon -1 day +00:00:00.000001",
                    "-24:00:00",
                ],
            ),
            ("interval day to second(3)", &["0", "1 day 00:00:01.234"]),
        ],
    ),
    (
        "documents",
        &[
            ("json", &["null", "{\"a\":1,  \"a\":2}", "[1e400, \"\\u00e9\"]", "\"\"", " { } "]),
            (
                "jsonb",
                &[
                    "null",
                    "{\"b\": 1, \"a\": [true, null, 1.10, -0.0, 1e100]}",
                    "\"🦀 \\\"q\\\" \\\\ \\n\"",
                    "[]",
                    "12345678901234567890.12345",
                ],
            ),
            ("jsonpath", &["$", "$.a[*] ? (@ > 1)", "strict $.\"k\".type()"]),
            ("tsvector", &["", "'a':1A,2B 'b c':3 '''q''':16383", "'x'"]),
            ("tsquery", &["", "'a' & !'b' | 'c':*AB", "'a' <-> 'b' <3> 'c'"]),
        ],
    ),
    (
        "addresses",
        &[
            ("inet", &["0.0.0.0", "10.1.2.3/8", "255.255.255.255/32", "::", "fe80::1/64", "::ffff:1.2.3.4"]),
            ("cidr", &["0.0.0.0/0", "10.0.0.0/8", "10.1.2.3/32", "::/0", "2001:db8::/32"]),
            ("macaddr", &["00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff"]),
            ("macaddr8", &["00:00:00:00:00:00:00:00", "08:00:2b:ff:fe:01:02:03"]),
            ("oid", &["0", "4294967295"]),
            ("xid", &["0", "4294967295"]),
            ("xid8", &["0", "18446744073709551615"]),
            ("cid", &["0", "4294967295"]),
            ("tid", &["(0,0)", "(4294967295,65535)"]),
            ("pg_lsn", &["0/0", "FFFFFFFF/FFFFFFFF"]),
            ("pg_snapshot", &["10:10:", "10:20:11,15"]),
            ("txid_snapshot", &["10:10:", "10:20:11,15"]),
        ],
    ),
    (
        "shapes",
        &[
            ("point", &["(-0,0)", "(NaN,Infinity)", "(1e-300,1.5)"]),
            ("line", &["{1,-1,0}", "{0,1,-2.5}"]),
            ("lseg", &["[(0,0),(1,1)]"]),
            ("box", &["(1,1),(0,0)", "(Infinity,1),(-Infinity,0)"]),
            ("path", &["[(0,0),(1,1)]", "((0,0),(1,1),(2,0))"]),
            ("polygon", &["((0,0),(1,1),(2,0))"]),
            ("circle", &["<(0,0),1>", "<(NaN,0),Infinity>"]),
        ],
    ),
    (
        "arrays",
        &[
            (
                "int4[]",
                &[
                    "{}",
                    "{1,NULL,-3}",
                    "{{1,2},{NULL,4}}",
                    "[-2:0]={1,2,3}",
                    "[1:1][0:1]={{1,2}}",
                    "{{{1}},{{2}}}",
                ],
            ),
            (
                "text[]",
                &["{}", "{\"\",NULL,\"NULL\",\"a,b\",\"q\\\"q\",\"b\\\\s\",\"{}\",\"🦀\"}", "[5:6]={a,b}"],
            ),
            ("numeric[]", &["{NaN,Infinity,1.50,NULL}"]),
            ("numeric(8,2)[]", &["{1.50,NULL,NaN}"]),
            ("timestamptz[]", &["{-infinity,\"2000-01-01 00:00:00+00\",NULL,infinity}"]),
            ("jsonb[]", &["{\"{\\\"a\\\": 1}\",\"null\",NULL}"]),
            ("bytea[]", &["{\"\\\\x00ff\",\"\\\\x\"}"]),
            ("bool[]", &["{t,f,NULL}"]),
            ("uuid[]", &["{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}"]),
            ("varchar(4)[]", &["{abcd,NULL,\"\"}"]),
            ("inet[]", &["{10.0.0.1,::1}"]),
            ("point[]", &["{\"(1,2)\",\"(NaN,0)\"}"]),
            ("box[]", &["{(1,1),(0,0);(2,2),(1,1)}"]),
            ("int4range[]", &["{\"[1,5)\",empty,NULL}"]),
            ("interval[]", &["{\"1 mon -1 days\",\"00:00:00\"}"]),
        ],
    ),
    (
        "ranges",
        &[
            ("int4range", &["empty", "(,)", "[1,10)", "(,5)", "[7,)"]),
            ("int8range", &["empty", "[-9223372036854775808,9223372036854775807)"]),
            ("numrange", &["empty", "[1.50,2.500]", "(-Infinity,NaN)", "(,)"]),
            ("tsrange", &["empty", "[-infinity,\"2000-01-01 00:00:00\")", "(,)"]),
            ("tstzrange", &["empty", "[\"2000-01-01 00:00:00+00\",infinity]"]),
            ("daterange", &["empty", "[2000-01-01,infinity)", "(,)"]),
            ("int4multirange", &["{}", "{[1,3),[5,7)}", "{(,)}"]),
            ("nummultirange", &["{}", "{[1.0,2.0],(3,)}"]),
            ("tstzmultirange", &["{}", "{[\"2000-01-01 00:00:00+00\",\"2001-01-01 00:00:00+00\")}"]),
            ("datemultirange", &["{}", "{[2000-01-01,2000-02-01)}"]),
        ],
    ),
    ("marked_up", &[("xml", &["<a b=\"c\">d &amp; e</a>", "<r/>", "text <b/> more", ""])]),
];

/// Types that a user made; some of them exist in the mirror's database too, see `HERE`.
pub const USER_TYPES: &str = "
    CREATE TYPE mood AS ENUM ('sad', 'so-so', 'it''s 🦀', '');
    CREATE TYPE weather AS ENUM ('rain', 'sun');
    CREATE DOMAIN posint AS int CHECK (VALUE > 0);
    CREATE DOMAIN email AS text CHECK (VALUE LIKE '%@%');
    CREATE DOMAIN ids AS int[];
    CREATE TYPE pair AS (n int, t text);
    CREATE TYPE triple AS (p pair, d date, a int[]);
    CREATE TYPE floatrange AS RANGE (subtype = float8);
    CREATE TYPE textrange AS RANGE (subtype = text)";

/// The half of them that the mirror's database has.
pub const HERE: &str = "
    CREATE TYPE mood AS ENUM ('sad', 'so-so', 'it''s 🦀', '');
    CREATE DOMAIN posint AS int CHECK (VALUE > 0);
    CREATE TYPE pair AS (n int, t text);
    CREATE TYPE floatrange AS RANGE (subtype = float8)";

/// Types with no binary form that both sides share: a stream that carries them is in text.
pub const OTHERS: &[Group] = &[
    (
        "made",
        &[
            ("mood", &["sad", "so-so", "it's 🦀", ""]),
            ("mood[]", &["{}", "{sad,NULL,\"\",\"it's 🦀\"}"]),
            ("weather", &["rain", "sun"]),
            ("weather[]", &["{}", "{rain,NULL}"]),
            ("posint", &["1", "2147483647"]),
            ("posint[]", &["{1,NULL}"]),
            ("email", &["@", "it's@\"x\""]),
            ("ids", &["{}", "[2:3]={1,NULL}"]),
            ("pair", &["(,)", "(1,\"\")", "(-1,\"a \\\"b\\\" (c), \\\\ é\")"]),
            ("pair[]", &["{}", "{\"(1,a)\",NULL,\"(,\\\"\\\")\"}"]),
            ("triple", &["(,,)", "(\"(1,x)\",2000-01-01,\"{1,2}\")"]),
            ("floatrange", &["empty", "[-Infinity,NaN]"]),
            ("textrange", &["empty", "[a,b)"]),
            ("floatmultirange", &["{}", "{[1,2),[3,4)}"]),
        ],
    ),
    (
        "names",
        &[
            ("regclass", &["pg_class", "0"]),
            ("regtype", &["integer", "timestamp with time zone"]),
            ("regproc", &["now", "0"]),
            ("regprocedure", &["abs(integer)"]),
            ("regoper", &["pg_catalog.||/"]),
            ("regoperator", &["+(integer,integer)"]),
            ("regrole", &["postgres"]),
            ("regnamespace", &["pg_catalog", "public"]),
            ("regconfig", &["english"]),
            ("regdictionary", &["simple"]),
            ("regcollation", &["\"C\""]),
            ("regtype[]", &["{integer,text}"]),
            ("aclitem", &["postgres=arwdDxt/postgres", "=r/postgres"]),
            ("aclitem[]", &["{postgres=r/postgres}"]),
            // Their receive functions refuse the empty one that they send.
            ("int2vector", &["", "1 2 -3"]),
            ("oidvector", &["", "1 2 4294967295"]),
        ],
    ),
];
