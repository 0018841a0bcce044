//! The source's tables, and the triggers that keep the model's sums beside them.
//!
//! Each transaction brings its writer's mark along, and what it did to each table's rows, as a
//! count and a sum of hashes: so every state that a reader may see says of itself what must be in
//! it. The sums come from the statements, not from the WAL: nothing that decodes, sends or applies
//! has a part in them.

/// How many writers have a mark of their own.
pub const WRITERS: usize = 5;

/// Tables with their keys; none: REPLICA IDENTITY FULL.
pub const TABLES: [Table; 8] = [
    Table { name: "t_int", key: &["id"], text: false },
    Table { name: "t_text", key: &["k"], text: true },
    Table { name: "t_two", key: &["k1", "k2"], text: false },
    Table { name: "t_none", key: &[], text: false },
    Table { name: "t_wide", key: &["id"], text: false },
    Table { name: "t_big", key: &["id"], text: false },
    Table { name: "t_moving", key: &["id"], text: false },
    Table { name: "t_joins", key: &["id"], text: false },
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table {
    pub name: &'static str,
    pub key: &'static [&'static str],
    /// The key is text, some of it so long that it is stored out of line.
    pub text: bool,
}

/// Takes no part in the model's storm of publications: everything else is read by these.
pub const MARKS: &str = "marks";
pub const SUMS: &str = "sums";

/// What a row comes to, on either side.
pub fn summed(columns: &[&str], from: &str) -> String {
    format!(
        "SELECT count(*), coalesce(sum(hashtextextended(ROW({})::text, 0)), 0)::text FROM {from} AS r",
        columns.iter().map(|column| format!("r.\"{column}\"")).collect::<Vec<_>>().join(", ")
    )
}

pub fn schema() -> String {
    let mut sql = String::from(FUNCTIONS);
    for table in TABLES {
        let key: Vec<String> = match (table.text, table.key) {
            (true, key) => key.iter().map(|column| format!("{column} text COLLATE \"C\"")).collect(),
            (_, []) => vec!["id int".into()],
            (_, key) => key.iter().map(|column| format!("{column} int")).collect(),
        };
        let primary = match table.key {
            [] => String::new(),
            key => format!(", PRIMARY KEY ({})", key.join(", ")),
        };
        let name = table.name;
        sql.push_str(&format!(
            "CREATE TABLE {name} ({}, a varchar(60), b int, n numeric(20, 4), f float8, at timestamptz, j jsonb, big text{primary});
             ALTER TABLE {name} ALTER big SET STORAGE EXTERNAL;\n",
            key.join(", ")
        ));
        if table.key.is_empty() {
            sql.push_str(&format!("ALTER TABLE {name} REPLICA IDENTITY FULL;\n"));
        }
        for (event, referencing) in [
            ("INSERT", "REFERENCING NEW TABLE AS new_rows"),
            ("UPDATE", "REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows"),
            ("DELETE", "REFERENCING OLD TABLE AS old_rows"),
        ] {
            sql.push_str(&format!(
                "CREATE TRIGGER sums_{event} AFTER {event} ON {name} {referencing} FOR EACH STATEMENT EXECUTE FUNCTION note();\n"
            ));
        }
        sql.push_str(&format!(
            "CREATE TRIGGER sums_truncate BEFORE TRUNCATE ON {name} FOR EACH STATEMENT EXECUTE FUNCTION note_truncate();
             INSERT INTO sums SELECT w, '{name}', 0, 0 FROM generate_series(0, {}) w;\n",
            WRITERS - 1
        ));
    }
    sql.push_str(&format!("INSERT INTO marks SELECT w, 0 FROM generate_series(0, {}) w;\n", WRITERS - 1));
    sql.push_str(ROWS);
    sql
}

const FUNCTIONS: &str = "
    CREATE TABLE marks (writer int PRIMARY KEY, seq bigint NOT NULL);
    CREATE TABLE sums (writer int, tab text COLLATE \"C\", n bigint NOT NULL, h numeric NOT NULL, PRIMARY KEY (writer, tab))
        WITH (fillfactor = 20);
    CREATE FUNCTION add_sum(tab_ text, n_ bigint, h_ numeric) RETURNS void LANGUAGE sql AS $$
        UPDATE sums SET n = n + n_, h = h + h_
        WHERE writer = current_setting('oracle.writer')::int AND tab = tab_ AND (n_ <> 0 OR h_ <> 0)
    $$;
    CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE
        n bigint := 0; h numeric := 0; m bigint := 0; g numeric := 0;
    BEGIN
        -- Whoever alters the table sums it up himself.
        IF current_setting('oracle.quiet', true) = 'on' THEN
            RETURN NULL;
        END IF;
        IF TG_OP <> 'DELETE' THEN
            SELECT count(*), coalesce(sum(hashtextextended(r::text, 0)), 0) INTO n, h FROM new_rows r;
        END IF;
        IF TG_OP <> 'INSERT' THEN
            SELECT count(*), coalesce(sum(hashtextextended(r::text, 0)), 0) INTO m, g FROM old_rows r;
        END IF;
        PERFORM add_sum(TG_TABLE_NAME, n - m, h - g);
        RETURN NULL;
    END $$;
    CREATE FUNCTION whole_sum(tab text, sign int) RETURNS void LANGUAGE plpgsql AS $$
    DECLARE
        n bigint; h numeric;
    BEGIN
        -- Under a lock that keeps everybody out: its snapshot is newer, and sees all rows.
        EXECUTE format('SELECT count(*), coalesce(sum(hashtextextended(r::text, 0)), 0) FROM %I r', tab) INTO n, h;
        PERFORM add_sum(tab, sign * n, sign * h);
    END $$;
    CREATE FUNCTION note_truncate() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM whole_sum(TG_TABLE_NAME, -1);
        RETURN NULL;
    END $$;
";

/// Some rows to begin with.
const ROWS: &str = "
    SET oracle.writer = '0';
    INSERT INTO t_int SELECT n, md5(n::text), n % 100, n / 7.0, n / 3.0, 'epoch'::timestamptz + n * interval '1 hour', jsonb_build_object('n', n),
        CASE WHEN n % 10 = 0 THEN repeat(md5(n::text), 80) END FROM generate_series(1, 3000) n;
    INSERT INTO t_text SELECT CASE WHEN n % 7 = 0 THEN 'K' || n || repeat('z', 2300) ELSE 'K' || n END, md5(n::text), n FROM generate_series(1, 400) n;
    INSERT INTO t_two SELECT n / 20, n % 20, md5(n::text), n FROM generate_series(1, 1500) n;
    INSERT INTO t_none SELECT n % 200, 'same', n % 5 FROM generate_series(1, 400) n;
    INSERT INTO t_wide SELECT n, md5(n::text), n, 0, 0, NULL, NULL, repeat(md5(n::text), 250) FROM generate_series(1, 200) n;
    INSERT INTO t_big SELECT n, md5(n::text), n, NULL, NULL, NULL, NULL, repeat('b', 150) FROM generate_series(1, 20000) n;
    INSERT INTO t_moving SELECT n, md5(n::text), n, 1, 1, NULL, NULL, CASE WHEN n % 3 = 0 THEN repeat(md5(n::text), 90) END FROM generate_series(1, 1000) n;
    INSERT INTO t_joins SELECT n, md5(n::text), n FROM generate_series(1, 1000) n;
    ANALYZE;
";
