-- The tables in which the mirror keeps its own state. odoo_mirror_internal belongs to the extension
-- and goes with it; schema odoo_mirror and the mirrored rows stay.

CREATE SCHEMA odoo_mirror_internal;
REVOKE ALL ON SCHEMA odoo_mirror_internal FROM PUBLIC;
COMMENT ON SCHEMA odoo_mirror_internal IS 'state of odoo_mirror: read it through the functions of schema odoo_mirror';

CREATE TABLE odoo_mirror_internal.settings (
    only_row         boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    source           text NOT NULL,
    password_secret  text,
    publication      text NOT NULL,
    slot             text NOT NULL,
    configured_by    name NOT NULL,
    -- What a superuser configured reaches whatever the server does; anybody else's is held to
    -- limits.
    by_superuser     boolean NOT NULL DEFAULT false,
    configured_at    timestamptz NOT NULL DEFAULT pg_catalog.now(),
    wanted           text NOT NULL DEFAULT 'stopped' CHECK (wanted IN ('stopped', 'running')),
    -- Which cluster and database start() was called in. A clone or a restored copy differs, and
    -- waits.
    started_in       jsonb,
    started_at       timestamptz
);
COMMENT ON TABLE odoo_mirror_internal.settings IS 'where Odoo is, as configure() was told; never a password';

-- Left out of dumps on purpose: a restored position lies, and a restored copy must not steal the
-- slot.
CREATE TABLE odoo_mirror_internal.progress (
    only_row        boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    -- The source that the slot was made on: another one under the same name is not gone on with.
    system_identifier text NOT NULL,
    source_database   text NOT NULL,
    source_database_oid oid NOT NULL,
    -- Where configure() said that the source is, when the slot was made.
    source_address    text NOT NULL,
    timeline          bigint NOT NULL,
    -- Which cluster and database the slot was made for: to a clone it doesn't belong.
    made_in           jsonb NOT NULL,
    slot              text NOT NULL,
    -- Where the slot began; the replication origin tells where the mirror stands.
    slot_start        pg_lsn NOT NULL,
    streaming         boolean NOT NULL DEFAULT false,
    -- Why the mirror must begin anew with a new slot, in words; NULL: it may go on.
    refused           text,
    -- The mirror began anew, and not all tables have been compared since: readers see old rows.
    stale             boolean NOT NULL DEFAULT false,
    -- A copy of the origin's position, at most 10 s old: pg_upgrade drops origins.
    applied_lsn       pg_lsn,
    updated_at        timestamptz NOT NULL DEFAULT pg_catalog.now(),
    transactions      bigint NOT NULL DEFAULT 0,
    batches           bigint NOT NULL DEFAULT 0,
    received_bytes    bigint NOT NULL DEFAULT 0,
    reconnects        bigint NOT NULL DEFAULT 0,
    -- By what ended the life before: transient, configuration, gate, stream.
    causes            bigint[] NOT NULL DEFAULT '{}',
    -- Local commits by how long they took, and the sum of that in seconds.
    durations         bigint[] NOT NULL DEFAULT '{}',
    seconds           float8 NOT NULL DEFAULT 0
);

-- What the gate refused: the last hundred.
CREATE TABLE odoo_mirror_internal.refusals (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at            timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    what          text NOT NULL,
    -- The slot kept too much WAL on the source, and was dropped.
    given_up      boolean NOT NULL DEFAULT false,
    -- With a new slot; NULL: not yet, or the cause went away.
    began_anew_at timestamptz,
    -- All tables were equal to the source's again.
    equal_at      timestamptz
);

CREATE TABLE odoo_mirror_internal.tables (
    name            text PRIMARY KEY,
    source_oid      oid NOT NULL,
    source_schema   text NOT NULL,
    source_name     text NOT NULL,
    -- The source's table as the mirror was made from it.
    definition      jsonb NOT NULL,
    -- What the mirror's table is like.
    shape           jsonb NOT NULL,
    state           text NOT NULL
                    CHECK (state IN ('copying', 'catching_up', 'reconciling', 'ready', 'failed')),
    -- Why it failed: by this it is decided what heals it. The reason and the hint are for people.
    failure         text CHECK (failure IN ('unsuitable', 'not_published', 'name_taken', 'in_the_way', 'altered',
                                            'refused', 'unreadable', 'too_big')),
    failed_at       timestamptz,
    reason          text,
    hint            text,
    -- Why it must be taken over anew as it is on the source by now; NULL: it is as the source's.
    drift           text,
    generation      bigint NOT NULL DEFAULT 1,
    estimated_rows  bigint NOT NULL DEFAULT 0,
    estimated_bytes bigint NOT NULL DEFAULT 0,
    indexes_built   boolean NOT NULL DEFAULT false,
    copy_started_at timestamptz,
    -- Transactions that wrote the table when the first copy began, committed perhaps and not
    -- visible: a copy's snapshot must see them, since the stream may not bring them.
    must_see        bigint[] NOT NULL DEFAULT '{}',
    ready_since     timestamptz,
    inserts         bigint NOT NULL DEFAULT 0,
    updates         bigint NOT NULL DEFAULT 0,
    deletes         bigint NOT NULL DEFAULT 0,
    truncates       bigint NOT NULL DEFAULT 0,
    -- Of the messages that the first three came in.
    inserted_bytes  bigint NOT NULL DEFAULT 0,
    updated_bytes   bigint NOT NULL DEFAULT 0,
    deleted_bytes   bigint NOT NULL DEFAULT 0,
    split           bigint NOT NULL DEFAULT 0,
    applied         bigint NOT NULL DEFAULT 0,
    folded          bigint NOT NULL DEFAULT 0,
    skipped         bigint NOT NULL DEFAULT 0,
    filtered        bigint NOT NULL DEFAULT 0,
    missing         bigint NOT NULL DEFAULT 0,
    -- Rows that were set aside since the table was first mirrored, again and again counted.
    failed_rows     bigint NOT NULL DEFAULT 0,
    quarantined     bigint NOT NULL DEFAULT 0,
    -- Batches in which received + split was not what the others come to: a mistake of the mirror's
    -- own.
    unbalanced      bigint NOT NULL DEFAULT 0,
    last_change     timestamptz,
    -- Every row was proven equal to the source's as of this commit, at this time.
    verified_lsn    pg_lsn,
    verified_at     timestamptz,
    CHECK ((state = 'failed') = (failure IS NOT NULL))
) WITH (fillfactor = 70);

-- One row a key range of a copy: filled in by the transaction that brings its rows, so that a copy
-- broken off goes on with the ranges that are missing.
CREATE TABLE odoo_mirror_internal.ranges (
    table_name text NOT NULL REFERENCES odoo_mirror_internal.tables ON DELETE CASCADE,
    ordinal    integer NOT NULL,
    lo         bigint,
    hi         bigint,
    -- What is in the range here already goes before its rows come.
    replace    boolean NOT NULL DEFAULT false,
    -- The snapshot that the rows were read under, and a position past every commit that it sees.
    snapshot   text,
    past       pg_lsn,
    filenode   oid,
    rows       bigint,
    bytes      bigint,
    copied_at  timestamptz,
    PRIMARY KEY (table_name, ordinal)
);

-- Columns that the source added, and that were added here before the transaction that did is
-- applied.
CREATE TABLE odoo_mirror_internal.columns_ahead (
    table_name  text NOT NULL REFERENCES odoo_mirror_internal.tables ON DELETE CASCADE,
    column_name text NOT NULL,
    sql_type    text NOT NULL,
    -- What rows get that don't bring a value: the constant that the source's rows got. NULL: NULL.
    value       text,
    -- The stream has brought it: what is left to do is to take its default away.
    arrived     boolean NOT NULL DEFAULT false,
    PRIMARY KEY (table_name, column_name)
);

-- Tables whose rows are being compared with the source's, range by range, and how far that is. A
-- restart goes on there.
CREATE TABLE odoo_mirror_internal.reconciles (
    table_name  text PRIMARY KEY REFERENCES odoo_mirror_internal.tables ON DELETE CASCADE,
    -- Write what differs; else only tell.
    writes      boolean NOT NULL,
    reason      text NOT NULL,
    job         bigint,
    -- Rows whose key is below this are done: a place in the order that the key is walked in, each
    -- column as text.
    done_to     text[],
    -- All ranges are done; keys that were being written to are left, in rechecks.
    ranges_done boolean NOT NULL DEFAULT false,
    -- Only keys in rechecks are compared.
    keys_only   boolean NOT NULL DEFAULT false,
    -- Not all changes of transactions that may still be open come with the stream: every snapshot
    -- must see them.
    writers     boolean NOT NULL DEFAULT false,
    started_at  timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    compared    bigint NOT NULL DEFAULT 0,
    different   bigint NOT NULL DEFAULT 0,
    written     bigint NOT NULL DEFAULT 0,
    -- What differed, up to some hundred keys with their columns.
    found       jsonb NOT NULL DEFAULT '[]'
);

-- Keys that are compared with the source's rows once more: they were being written to meanwhile, or
-- a row was missing.
CREATE TABLE odoo_mirror_internal.rechecks (
    table_name text NOT NULL REFERENCES odoo_mirror_internal.tables ON DELETE CASCADE,
    -- The key's columns as text, in key order.
    key        text[] NOT NULL,
    PRIMARY KEY (table_name, key)
);

-- What the source did to its tables, and what was done about it here: the last thousand.
CREATE TABLE odoo_mirror_internal.ddl_history (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at         timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    table_name text NOT NULL,
    what       text NOT NULL,
    done       text NOT NULL
);

-- Rows that the mirror's table refuses. Not dumped: a restored copy compares its rows anew.
CREATE TABLE odoo_mirror_internal.quarantine (
    id              bigint GENERATED ALWAYS AS IDENTITY,
    table_name      text NOT NULL REFERENCES odoo_mirror_internal.tables ON DELETE CASCADE,
    -- The key's columns as text, in key order.
    key             text[] NOT NULL,
    operation       text NOT NULL CHECK (operation IN ('insert', 'update', 'upsert', 'delete')),
    -- The columns that are known, as text: to see whether the row would be refused still. NULL:
    -- none, or a delete.
    kept            jsonb,
    error           text NOT NULL,
    sqlstate        text,
    -- The source's commit that the mirror stood at when the row was refused, and its time by the
    -- source's clock.
    lsn             pg_lsn,
    committed_at    timestamptz,
    attempts        int NOT NULL DEFAULT 0,
    first_failed_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    failed_at       timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    -- Then the source's row is fetched and tried again.
    retry_at        timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    PRIMARY KEY (table_name, key)
) WITH (fillfactor = 70);

CREATE TABLE odoo_mirror_internal.jobs (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind         text NOT NULL CHECK (kind IN ('resync', 'verify')),
    table_name   text NOT NULL,
    -- Whether a verify mends what differs.
    repair       boolean NOT NULL DEFAULT false,
    state        text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'running', 'done', 'failed')),
    requested_by name NOT NULL DEFAULT session_user,
    requested_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
    started_at   timestamptz,
    finished_at  timestamptz,
    result       jsonb,
    error        text
);

-- What is still to be done for a job, table by table.
CREATE TABLE odoo_mirror_internal.job_parts (
    job           bigint NOT NULL REFERENCES odoo_mirror_internal.jobs ON DELETE CASCADE,
    table_name    text NOT NULL,
    -- A later job that asked for the same table: what that one comes to counts for this one, too.
    taken_over_by bigint,
    PRIMARY KEY (job, table_name)
);

SELECT pg_catalog.pg_extension_config_dump('odoo_mirror_internal.settings', '');

-- Secondary indexes that dashboards and the functions need, made after a table's first copy.
CREATE TABLE odoo_mirror_internal.indexes (
    name       text PRIMARY KEY,
    table_name text NOT NULL,
    columns    text[] NOT NULL,
    -- Why it could not be built.
    problem    text
);
INSERT INTO odoo_mirror_internal.indexes (name, table_name, columns) VALUES
    ('idx_account_move_partner',        'account_move',          '{partner_id}'),
    ('idx_account_move_date',           'account_move',          '{invoice_date}'),
    ('idx_account_move_type',           'account_move',          '{move_type}'),
    ('idx_account_move_state',          'account_move',          '{state}'),
    ('idx_account_move_line_move',      'account_move_line',     '{move_id}'),
    ('idx_account_move_line_account',   'account_move_line',     '{account_id}'),
    ('idx_account_move_line_partner',   'account_move_line',     '{partner_id}'),
    ('idx_res_partner_name',            'res_partner',           '{name}'),
    ('idx_res_partner_vat',             'res_partner',           '{vat}'),
    ('idx_res_partner_company_type',    'res_partner',           '{is_company}'),
    ('idx_project_task_project',        'project_task',          '{project_id}'),
    ('idx_project_task_user',           'project_task_user_rel', '{user_id}'),
    ('idx_project_task_stage',          'project_task',          '{stage_id}'),
    ('idx_project_task_deadline',       'project_task',          '{date_deadline}'),
    ('idx_hr_expense_employee',         'hr_expense',            '{employee_id}'),
    ('idx_hr_expense_sheet',            'hr_expense',            '{sheet_id}'),
    ('idx_hr_expense_date',             'hr_expense',            '{date}'),
    ('idx_hr_expense_state',            'hr_expense',            '{state}'),
    ('idx_hr_expense_sheet_employee',   'hr_expense_sheet',      '{employee_id}'),
    ('idx_hr_expense_sheet_state',      'hr_expense_sheet',      '{state}'),
    ('idx_hr_expense_sheet_date',       'hr_expense_sheet',      '{accounting_date}');
