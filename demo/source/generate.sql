-- demo.generate(scale, until) fills the tables of schema.sql: scale 1 is about 313,000 rows, 24 months of business up to `until`.
-- Every value comes from a hash of the row's number, so the same scale and date give the same rows on any server.
-- Set-based: one INSERT a table. Run it once, on empty tables.

CREATE SCHEMA IF NOT EXISTS demo;

-- A number from 0 to sides - 1 that depends on n and the salt only. No SET clause, not STRICT and nothing STABLE inside: so it is inlined, as are the next ones.
CREATE FUNCTION demo.dice(n bigint, salt int, sides bigint) RETURNS int LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
$$ SELECT ((hashint8extended(n, salt::bigint) & 9223372036854775807) % sides)::int $$;

-- One of the words, by the same dice.
CREATE FUNCTION demo.pick(n bigint, salt int, words text[]) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
$$ SELECT words[1 + demo.dice(n, salt, array_length(words, 1))] $$;

CREATE FUNCTION demo.company(n bigint) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
$$ SELECT demo.pick(n, 1, '{Northwind,Bäckerei Grün,Łódzka,Société Fjord,Quartz,Σίγμα,Кедр,さくら,شركة النور,Lumen,O''Hara,Tundra,Añejo,Zephyr,Iris & Ivy}')
    || ' ' || demo.pick(n, 2, '{Trading,Logistics,Foods,Systems,Studio,Energy,Textiles,Labs,Partners,Print,Works,Supply}')
    || ' ' || demo.pick(n, 3, '{GmbH,Ltd,SARL,BV,Inc.,S.A.,"Sp. z o.o.",AB}') $$;

CREATE FUNCTION demo.person(n bigint) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
$$ SELECT demo.pick(n, 4, '{Anna,José,Renée,Łukasz,Mei,Omar,Zoë,Ivan,Chloé,Björn,Priya,Søren,Aoife,Kenji,Nadia,Tomás}')
    || ' ' || demo.pick(n, 5, '{Müller,García,Nowak,O''Brien,Rossi,Ivanova,Tanaka,Haddad,Lindqvist,Çelik,Dubois,Okafor,Novák,Silva}') $$;

CREATE FUNCTION demo.product(n bigint) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
$$ SELECT '[' || demo.pick(n, 6, '{FURN,SERV,ELEC,CONS,PACK}') || '_' || (1000 + demo.dice(n, 7, 9000))::text || '] '
    || demo.pick(n, 8, '{Large,Compact,Ergonomic,Recycled,Premium,Monthly,On-site,Modular}')
    || ' ' || demo.pick(n, 9, '{Desk,Chair,"Monitor 27\"",Support,Consulting,Cabinet,Licence,Shipping,Lamp,Workshop}') $$;

-- A text of 3 to 8 kB, as a pasted mail thread: too long for its row even when compressed, so it is stored out of line.
CREATE FUNCTION demo.long_text(n bigint) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
$$ SELECT '<p>' || string_agg(demo.pick(n * 1000 + w, 10, '{quartz,tundra,willow,granite,fjord,prism,lumen,nimbus,ridge,"délai",änderung,"see \"A\\B\"",📦,договор,umbra,xylo}')
    || ' ' || to_hex(demo.dice(n * 1000 + w, 11, 16777216)), ' ') || '</p>'
    FROM generate_series(1, 220 + demo.dice(n, 12, 380)) w $$;

-- Units of a currency that one unit of the company's (US dollar, id 1) buys.
CREATE FUNCTION demo.rate(currency_id int) RETURNS numeric LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
$$ SELECT CASE currency_id WHEN 1 THEN 1.0 WHEN 125 THEN 0.9213 WHEN 143 THEN 0.7891 WHEN 4 THEN 0.8842 ELSE 3.9642 END $$;

CREATE FUNCTION demo.currency(n bigint) RETURNS int LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
$$ SELECT ('{1,1,1,1,1,1,125,125,143,4,17}'::int[])[1 + demo.dice(n, 13, 11)] $$;

-- The state of a sheet's expenses in Odoo 18's words.
CREATE FUNCTION demo.expense_state(sheet bigint) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
$$ SELECT demo.pick(sheet, 112, '{done,done,done,done,done,approved,submitted,submitted,reported,refused}') $$;

CREATE PROCEDURE demo.generate(scale numeric DEFAULT 1, until date DEFAULT current_date) LANGUAGE plpgsql AS $$
BEGIN
    SET LOCAL synchronous_commit = off;
    CALL demo.generate_people(scale, until);
    CALL demo.generate_projects(scale, until);
    CALL demo.generate_expenses(scale, until);
    CALL demo.generate_moves(scale, until);
    CALL demo.move_sequences();
END $$;

CREATE PROCEDURE demo.generate_people(scale numeric, until date) LANGUAGE sql AS $$
    -- Two partners of three are companies; the others work for one of them or are on their own.
    INSERT INTO public.res_partner (id, company_id, create_date, name, parent_id, user_id, country_id, color,
        commercial_partner_id, create_uid, write_uid, complete_name, ref, lang, tz, vat, website, function, type, street, zip, city,
        email, phone, mobile, commercial_company_name, barcode, comment, partner_latitude, partner_longitude, active, employee,
        is_company, partner_share, write_date, message_bounce, email_normalized, phone_sanitized, supplier_rank, customer_rank,
        invoice_warn, autopost_bills, credit_limit, property_payment_term_id, trust, debit_limit, peppol_endpoint, peppol_eas)
    SELECT n, CASE WHEN demo.dice(n, 20, 4) = 0 THEN 1 END, born, full_name, boss, 2 + demo.dice(n, 21, 20),
        (demo.pick(n, 22, '{233,75,57,20,113,231,110}'))::int, demo.dice(n, 23, 12), coalesce(boss, n), 2, 1 + demo.dice(n, 24, 3),
        CASE WHEN boss IS NULL THEN full_name ELSE demo.company(boss) || ', ' || full_name END,
        CASE WHEN demo.dice(n, 25, 3) = 0 THEN 'P-' || n END, demo.pick(n, 26, '{en_US,en_US,fr_FR,de_DE,pl_PL}'), 'Europe/Brussels',
        CASE WHEN firm AND demo.dice(n, 27, 6) > 0 THEN 'BE0' || 100000000 + demo.dice(n, 28, 900000000) END,
        CASE WHEN firm THEN 'https://www.example.com/' || n END, CASE WHEN NOT firm THEN 'Buyer' END, 'contact',
        1 + demo.dice(n, 29, 400) || ' ' || demo.pick(n, 30, '{rue de l''Église,Hauptstraße,ul. Długa,Main Street,Gran Vía}'),
        lpad(demo.dice(n, 31, 99999)::text, 5, '0'), demo.pick(n, 32, '{Lyon,Köln,Łódź,Málaga,Cork,Gent,東京}'),
        'contact' || n || '@example.com', phone, CASE WHEN demo.dice(n, 33, 3) = 0 THEN phone END,
        CASE WHEN firm THEN full_name END, NULL,
        CASE WHEN demo.dice(n, 34, 100) = 0 THEN demo.long_text(n) WHEN demo.dice(n, 34, 100) < 10 THEN E'<p>Ref "A\\B"<br>line 2\n</p>' END,
        CASE WHEN firm THEN (demo.dice(n, 35, 1800000) - 900000) / 10000.0 END, CASE WHEN firm THEN demo.dice(n, 36, 1800000) / 10000.0 END,
        demo.dice(n, 37, 40) > 0, false, firm, true, born + (demo.dice(n, 38, 90) || ' days')::interval, 0,
        'contact' || n || '@example.com', phone, demo.dice(n, 39, 4), demo.dice(n, 40, 9), 'no-message', 'ask',
        CASE WHEN demo.dice(n, 41, 5) = 0 THEN jsonb_build_object('1', 1000 * demo.dice(n, 42, 50)) END,
        CASE WHEN firm THEN '{"1": 4}'::jsonb END, CASE WHEN firm THEN '{"1": "normal"}'::jsonb END, 0,
        CASE WHEN firm THEN 'BE0' || 100000000 + demo.dice(n, 28, 900000000) END, CASE WHEN firm THEN '9925' END
    FROM generate_series(1, greatest(30, (20000 * scale)::int)) n,
        LATERAL (SELECT n % 3 > 0 AS firm) f,
        LATERAL (SELECT CASE WHEN NOT firm AND demo.dice(n, 43, 4) > 0 THEN 3 * demo.dice(n, 44, (n + 2) / 3) + 1 END AS boss,
            CASE WHEN firm THEN demo.company(n) ELSE demo.person(n) END AS full_name,
            until - 740 + demo.dice(n, 45, 700) + make_interval(secs => demo.dice(n, 46, 86400) + 0.123456) AS born,
            '+32 4 ' || 1000000 + demo.dice(n, 47, 9000000) AS phone) d;

    INSERT INTO public.hr_employee (id, resource_id, company_id, resource_calendar_id, color, department_id, job_id, address_id,
        work_contact_id, user_id, parent_id, create_uid, write_uid, name, job_title, work_phone, work_email, private_street,
        private_city, private_phone, private_email, gender, marital, certificate, distance_home_work_unit, employee_type, birthday,
        employee_properties, notes, active, is_flexible, is_fully_flexible, work_permit_scheduled_activity, create_date, write_date,
        expense_manager_id)
    SELECT n, n, 1 + n % 2, 1, demo.dice(n, 50, 12), 1 + demo.dice(n, 51, 8), 1 + demo.dice(n, 52, 20), 1, n,
        CASE WHEN n <= 60 THEN n + 1 END, CASE WHEN n > 8 THEN 1 + demo.dice(n, 53, 8) END, 1, 1, demo.person(n * 7),
        demo.pick(n, 54, '{Consultant,Accountant,Developer,Project Manager,Chief Executive Officer}'), '(555)-125-' || 1000 + n,
        'employee' || n || '@example.com', n || ' Vine St', 'Scranton', '+1 555-555-' || 1000 + n, 'home' || n || '@example.com',
        demo.pick(n, 55, '{male,female,other}'), demo.pick(n, 56, '{single,married,cohabitant}'), 'other', 'kilometers', 'employee',
        until - 8000 - demo.dice(n, 57, 12000), CASE WHEN n % 5 = 0 THEN '{"desk": "A-1", "badge": true}'::jsonb END,
        CASE WHEN n % 25 = 0 THEN demo.long_text(n + 7) END, n % 30 > 0, false, false, false,
        until - 730 + make_interval(secs => n), until - demo.dice(n, 58, 200) + make_interval(secs => n), 2
    FROM generate_series(1, greatest(20, (500 * scale)::int)) n;
$$;

CREATE PROCEDURE demo.generate_projects(scale numeric, until date) LANGUAGE sql AS $$
    -- Stages: a shared set first (the last two of each four are folded), personal ones after; some folds are NULL, as in Odoo.
    INSERT INTO public.project_task_type (id, sequence, user_id, create_uid, write_uid, name, active, fold, auto_validation_state,
        create_date, write_date)
    SELECT n, n, CASE WHEN n > 24 THEN n - 23 END, 1, 1, jsonb_build_object('en_US', label) || CASE WHEN n <= 8 THEN
            jsonb_build_object('fr_FR', ('{Nouveau,"En cours",Terminé,Annulé}'::text[])[1 + (n - 1) % 4]) ELSE '{}' END,
        true, CASE WHEN n % 11 = 5 THEN NULL ELSE (n - 1) % 4 >= 2 END, false, until - 730, until - 730 + n
    FROM generate_series(1, 40) n, LATERAL (SELECT ('{New,In Progress,Done,Cancelled}'::text[])[1 + (n - 1) % 4] AS label) l;

    INSERT INTO public.project_project (id, account_id, alias_id, sequence, partner_id, company_id, color, user_id, stage_id,
        create_uid, write_uid, access_token, privacy_visibility, rating_status, rating_status_period, last_update_status, date_start,
        date, name, label_tasks, description, active, allow_task_dependencies, allow_milestones, rating_active,
        rating_request_deadline, create_date, write_date, x_plan2_id)
    SELECT n, n, n, 10, 1 + demo.dice(n, 60, greatest(30, 20000 * scale)::int), 1 + n % 2, demo.dice(n, 61, 12),
        2 + demo.dice(n, 62, 20), 1 + n % 4, 2, 1, md5('project' || n), demo.pick(n, 63, '{portal,employees,followers}'), 'stage', 'monthly',
        demo.pick(n, 64, '{to_define,on_track,at_risk,off_track}'), until - 600 + n, until - 100 + 2 * n,
        jsonb_build_object('en_US', demo.pick(n, 65, '{Delta,Aurora,Harbour,Käfer,Orion,Žižkov}') || ' '
            || demo.pick(n, 66, '{migration,rollout,audit,redesign}') || ' ' || n),
        '{"en_US": "Tasks"}', CASE WHEN n % 20 = 0 THEN demo.long_text(n + 9) END, n % 25 > 0, false, true, false,
        until + 30, until - 610 + n + time '09:00', until - 10 + time '09:00', CASE WHEN n % 9 = 0 THEN n END
    FROM generate_series(1, greatest(5, least(200, 200 * scale + 4)::int)) n;

    INSERT INTO public.project_task (id, sequence, stage_id, project_id, partner_id, company_id, color, parent_id, create_uid,
        write_uid, access_token, name, priority, state, html_field_history, task_properties, description, working_hours_open,
        working_hours_close, active, display_in_project, recurring_task, create_date, write_date, date_end, date_assign, date_deadline,
        date_last_stage_update, rating_last_value, allocated_hours, working_days_open, working_days_close)
    SELECT n, 10, stage, project, CASE WHEN demo.dice(n, 70, 3) = 0 THEN 1 + demo.dice(n, 71, greatest(30, 20000 * scale)::int) END,
        1 + n % 2, 0, CASE WHEN n > 10 AND project IS NOT NULL AND demo.dice(n, 72, 8) = 0 THEN n - 10 END, 2, 1,
        md5('task' || n), demo.pick(n, 73, '{Negotiate,Review,Vérifier,Übersetzen,Fix,Ship 🚀,Prepare}') || ' '
            || demo.pick(n, 74, '{Q3 report,the contract,invoice run,landing page,"\"quoted\" spec",price grid}') || ' ' || n,
        demo.pick(n, 75, '{0,0,0,1}'), CASE (stage - 1) % 4 WHEN 2 THEN '1_done' WHEN 3 THEN '1_canceled' ELSE
            demo.pick(n, 76, '{01_in_progress,01_in_progress,01_in_progress,03_approved,02_changes_requested}') END,
        NULL, CASE WHEN demo.dice(n, 77, 20) = 0 THEN jsonb_build_object('effort', demo.dice(n, 78, 13), 'tags', '["a", "ü"]'::jsonb) END,
        CASE WHEN demo.dice(n, 79, 50) = 0 THEN demo.long_text(n + 11) WHEN demo.dice(n, 79, 50) < 20 THEN '<p>' || demo.product(n) || '</p>' END,
        demo.dice(n, 80, 4000) / 100.0, 0.00, demo.dice(n, 81, 30) > 0, true, false, born, born + interval '3 days 01:02:03.456789',
        CASE WHEN (stage - 1) % 4 >= 2 THEN born + interval '20 days' END, born + interval '1 hour',
        CASE WHEN demo.dice(n, 82, 10) < 7 THEN date_trunc('hour', born) + make_interval(days => 10 + demo.dice(n, 83, 120)) END,
        born + interval '3 days', 0, demo.dice(n, 84, 400) / 8.0, demo.dice(n, 85, 1000) / 37.0, 0
    FROM generate_series(1, greatest(40, (20000 * scale)::int)) n,
        LATERAL (SELECT CASE WHEN demo.dice(n, 86, 40) > 0 THEN 1 + demo.dice(n, 87, greatest(5, least(200, 200 * scale + 4)::int)) END AS project,
            CASE WHEN demo.dice(n, 88, 50) > 0 THEN 1 + demo.dice(n, 89, 24) END AS stage,
            until - 730 + demo.dice(n, 90, 725) + make_interval(secs => demo.dice(n, 91, 86400) + 0.654321) AS born) d;

    INSERT INTO public.project_task_user_rel (id, task_id, user_id, stage_id, create_uid, write_uid, create_date, write_date)
    SELECT row_number() OVER (ORDER BY id, place), id, 2 + (demo.dice(id, 92, 20) + place * 7) % 60, 25 + demo.dice(id, 93, 16), NULL, 2,
        NULL, write_date
    FROM public.project_task, generate_series(0, 1) place
    WHERE demo.dice(id, 94, 100) < CASE place WHEN 0 THEN 50 ELSE 8 END;
$$;

CREATE PROCEDURE demo.generate_expenses(scale numeric, until date) LANGUAGE sql AS $$
    -- Three expenses to a sheet, whose state they follow; the sheet's totals are filled in from them below.
    INSERT INTO public.hr_expense (id, employee_id, company_id, product_id, product_uom_id, sheet_id, currency_id, vendor_id,
        account_id, create_uid, write_uid, name, state, payment_mode, date, accounting_date, analytic_distribution, description, quantity,
        tax_amount_currency, tax_amount, total_amount_currency, untaxed_amount_currency, total_amount, price_unit, create_date, write_date)
    SELECT n, 1 + demo.dice(sheet, 100, greatest(20, 500 * scale)::int), 1 + sheet % 2, 48, 1, CASE WHEN loose THEN NULL ELSE sheet END,
        currency, CASE WHEN demo.dice(n, 101, 5) = 0 THEN 1 + demo.dice(n, 102, greatest(30, 20000 * scale)::int) END, 33, 2, 1,
        demo.pick(n, 103, '{Taxi to airport,Hôtel 2 nuits,Team lunch 🍕,Konferenzgebühr,Train ticket,"Client \"dinner\""}'),
        CASE WHEN loose THEN 'draft' ELSE state END, demo.pick(n, 104, '{own_account,own_account,own_account,company_account}'),
        until - age, CASE WHEN state = 'done' THEN until - age + 10 END,
        CASE WHEN demo.dice(n, 105, 4) = 0 THEN jsonb_build_object((1 + demo.dice(n, 106, 200))::text, 100.0) END,
        CASE WHEN demo.dice(n, 107, 100) = 0 THEN demo.long_text(n + 13) WHEN demo.dice(n, 107, 100) < 30 THEN 'Receipt attached' END,
        1.00, round(total * 3 / 23, 2), round(round(total * 3 / 23, 2) / demo.rate(currency), 2), total, total - round(total * 3 / 23, 2),
        round(total / demo.rate(currency), 2), round(total / demo.rate(currency), 2), born,
        born + make_interval(days => least(age, 12))
    FROM generate_series(1, greatest(30, (15000 * scale)::int)) n,
        LATERAL (SELECT (n + 2) / 3 AS sheet, demo.dice(n, 108, 25) = 0 AS loose, demo.currency((n + 2) / 3) AS currency,
            demo.expense_state((n + 2) / 3) AS state, demo.dice((n + 2) / 3, 109, 720) AS age,
            (500 + demo.dice(n, 110, 60000)) / 100.0 AS total) d,
        LATERAL (SELECT until - age + make_interval(secs => demo.dice(n, 111, 86400) + 0.31415) AS born) b;

    INSERT INTO public.hr_expense_sheet (id, company_id, employee_id, department_id, user_id, currency_id, employee_journal_id,
        payment_method_line_id, journal_id, create_uid, write_uid, name, state, approval_state, payment_state, accounting_date,
        total_amount, untaxed_amount, total_tax_amount, amount_residual, approval_date, create_date, write_date)
    SELECT sheet, 1 + sheet % 2, employee, 1 + demo.dice(employee, 51, 8), 2, 1, 2, 2, 2, 2, 1, label,
        CASE state WHEN 'submitted' THEN 'submit' WHEN 'approved' THEN 'approve' WHEN 'refused' THEN 'cancel' WHEN 'reported' THEN 'draft' ELSE state END,
        CASE state WHEN 'submitted' THEN 'submit' WHEN 'refused' THEN 'cancel' WHEN 'reported' THEN NULL ELSE 'approve' END,
        CASE state WHEN 'done' THEN 'paid' ELSE 'not_paid' END, CASE state WHEN 'done' THEN day + 10 END,
        total, total - tax, tax, CASE state WHEN 'done' THEN 0.00 ELSE total END,
        CASE WHEN state IN ('approved', 'done') THEN day + time '10:00' END, day + time '08:00', day + time '11:00'
    FROM (SELECT (id + 2) / 3 AS sheet, min(employee_id) AS employee, min(name) AS label, demo.expense_state((id + 2) / 3) AS state,
            max(date) AS day, coalesce(sum(total_amount) FILTER (WHERE sheet_id IS NOT NULL), 0.00) AS total,
            coalesce(sum(tax_amount) FILTER (WHERE sheet_id IS NOT NULL), 0.00) AS tax
        FROM public.hr_expense GROUP BY (id + 2) / 3) s;
$$;

-- Invoices, bills, credit notes, and payments as plain entries. Each balances: product and tax lines against one payment term.
CREATE PROCEDURE demo.generate_moves(scale numeric, until date) LANGUAGE plpgsql AS $$
DECLARE
    moves int := greatest(100, (50000 * scale)::int);
    partners int := greatest(30, (20000 * scale)::int);
BEGIN
    -- OFFSET 0 keeps a LATERAL's expressions from being copied into each place that reads them.
    CREATE TEMP TABLE head ON COMMIT DROP AS
    SELECT n::int AS id, kind, state, day, currency_id, demo.rate(currency_id) AS rate,
        -- A product of two dice: few partners do most of the business, as everywhere.
        CASE WHEN kind <> 'entry' OR demo.dice(n, 120, 10) > 0
            THEN 1 + (demo.dice(n, 121, partners)::bigint * demo.dice(n, 144, partners) / partners)::int END AS partner_id,
        CASE WHEN demo.dice(n, 122, 10) = 0 THEN 2 ELSE 1 END AS company_id,
        CASE WHEN kind IN ('in_invoice', 'out_refund') THEN -1 ELSE 1 END AS direction,
        CASE WHEN kind = 'entry' THEN 6 WHEN kind LIKE 'out%' THEN 1 ELSE 2 END AS journal_id,
        CASE WHEN kind = 'entry' OR state <> 'posted' THEN 'not_paid' WHEN demo.dice(n, 123, 100) < 3 THEN 'reversed'
            WHEN demo.dice(n, 123, 100) < 12 THEN 'partial'
            WHEN demo.dice(n, 123, 100) < CASE WHEN day < until - 60 THEN 85 ELSE 40 END THEN 'paid' ELSE 'not_paid' END AS payment_state,
        prefix, CASE WHEN state = 'posted' OR demo.dice(n, 124, 3) = 0 AND state = 'cancel' THEN prefix || lpad(n::text, 5, '0') END AS name,
        day + make_interval(secs => demo.dice(n, 125, 86000) + 0.271828) AS born
    FROM generate_series(1, moves) n,
        LATERAL (SELECT demo.pick(n, 126, '{out_invoice,out_invoice,out_invoice,out_invoice,out_invoice,out_invoice,in_invoice,in_invoice,entry,entry}') AS usual,
            until - 730 + (n::bigint * 728 / moves)::int + demo.dice(n, 127, 3) AS day,
            demo.currency(n) AS currency_id OFFSET 0) u,
        LATERAL (SELECT CASE WHEN usual <> 'entry' AND demo.dice(n, 128, 12) = 0 THEN replace(usual, 'invoice', 'refund') ELSE usual END AS kind,
            CASE WHEN demo.dice(n, 129, 100) < 86 THEN 'posted' WHEN demo.dice(n, 129, 100) < 94 THEN 'draft' ELSE 'cancel' END AS state OFFSET 0) k,
        LATERAL (SELECT CASE kind WHEN 'out_invoice' THEN 'INV/' WHEN 'out_refund' THEN 'RINV/' WHEN 'in_invoice' THEN 'BILL/'
            WHEN 'in_refund' THEN 'RBILL/' ELSE 'PBNK1/' END || extract(year FROM day) || '/' AS prefix OFFSET 0) p;

    -- place: products from 1, a note 50, tax 60, term (or, for an entry, its bank side) 70. amount: in the document's currency, unsigned.
    CREATE TEMP TABLE line ON COMMIT DROP AS
    SELECT id AS move_id, place, 'product' AS display_type, quantity, price, discount, round(quantity * price * (100 - discount) / 100, 2) AS amount
    FROM head, LATERAL generate_series(1, CASE kind WHEN 'entry' THEN 1 ELSE
            ('{1,1,1,1,1,1,2,2,2,2,2,3,3,4,4,6}'::int[])[1 + demo.dice(id, 130, 16)] END) place,
        LATERAL (SELECT 1 + demo.dice(id::bigint * 64 + place, 131, 12)::numeric AS quantity,
            (500 + demo.dice(id::bigint * 64 + place, 132, 90000)) / 100.0 AS price,
            CASE WHEN demo.dice(id::bigint * 64 + place, 133, 12) = 0 AND kind <> 'entry' THEN 10.0 ELSE 0.0 END AS discount OFFSET 0) v;
    CREATE TEMP TABLE total ON COMMIT DROP AS
    SELECT id, untaxed, tax, untaxed + tax AS total, untaxed_here, tax_here, untaxed_here + tax_here AS total_here,
        CASE payment_state WHEN 'not_paid' THEN 1.0 WHEN 'partial' THEN 0.4 ELSE 0.0 END AS open
    FROM (SELECT head.id, payment_state, rate, sum(amount) AS untaxed, sum(round(amount / rate, 2)) AS untaxed_here,
            CASE WHEN kind = 'entry' THEN 0.00 ELSE round(sum(amount) * 0.15, 2) END AS tax
        FROM head JOIN line ON line.move_id = head.id GROUP BY 1, 2, 3, kind) s, LATERAL (SELECT round(tax / rate, 2) AS tax_here) t;
    INSERT INTO line
    SELECT id, 50, 'line_note', NULL, NULL, NULL, 0.00 FROM head WHERE kind <> 'entry' AND demo.dice(id, 134, 25) = 0
    UNION ALL SELECT id, 60, 'tax', 0.00, 0.00, 0.00, tax FROM head JOIN total USING (id) WHERE kind <> 'entry'
    UNION ALL SELECT id, 70, 'payment_term', 0.00, 0.00, 0.00, total FROM head JOIN total USING (id);
    ANALYZE head, line, total;

    INSERT INTO public.account_move (id, sequence_number, journal_id, company_id, partner_id, commercial_partner_id,
        partner_shipping_id, currency_id, invoice_user_id, create_uid, write_uid, sequence_prefix, access_token, name, ref, state, move_type,
        auto_post, inalterable_hash, payment_reference, payment_state, invoice_partner_display_name, date, invoice_date,
        invoice_date_due, sending_data, narration, invoice_currency_rate, amount_untaxed, amount_tax, amount_total, amount_residual,
        amount_untaxed_signed, amount_untaxed_in_currency_signed, amount_tax_signed, amount_total_signed,
        amount_total_in_currency_signed, amount_residual_signed, is_storno, always_tax_exigible, checked, posted_before,
        made_sequence_gap, is_manually_modified, is_move_sent, create_date, write_date)
    SELECT h.id, CASE WHEN h.name IS NULL THEN 0 ELSE h.id END, journal_id, h.company_id, h.partner_id, p.commercial_partner_id,
        h.partner_id, currency_id, CASE WHEN invoice THEN 2 + demo.dice(h.id, 135, 20) END, 2, 1 + demo.dice(h.id, 136, 2),
        CASE WHEN h.name IS NULL THEN '' ELSE prefix END, CASE WHEN demo.dice(h.id, 137, 5) = 0 THEN md5('move' || h.id) END, h.name,
        CASE WHEN demo.dice(h.id, 138, 3) = 0 THEN demo.pick(h.id, 139, '{IRIS,PRISM,ÅNGA,PO}') || '-' || h.id END, state, kind, 'no',
        NULL, CASE WHEN invoice THEN h.name END, payment_state, p.complete_name, day, CASE WHEN invoice THEN day END,
        CASE WHEN invoice THEN day + ('{0,15,30,30,60}'::int[])[1 + demo.dice(h.id, 140, 5)] END, NULL,
        CASE WHEN demo.dice(h.id, 141, 100) = 0 THEN demo.long_text(h.id + 17) WHEN demo.dice(h.id, 141, 100) < 12 THEN '<p>Merci – thank you</p>' END,
        rate, CASE WHEN invoice THEN untaxed ELSE 0.00 END, tax, total, CASE WHEN invoice THEN round(total * open, 2) ELSE 0.00 END,
        CASE WHEN invoice THEN direction * untaxed_here ELSE 0.00 END, CASE WHEN invoice THEN direction * untaxed ELSE 0.00 END,
        direction * tax_here, direction * total_here, direction * total,
        CASE WHEN invoice THEN direction * round(total_here * open, 2) ELSE 0.00 END, kind LIKE '%refund', NOT invoice, true,
        state <> 'draft', false, demo.dice(h.id, 142, 3) = 0, CASE WHEN kind LIKE 'out%' THEN state = 'posted' END, born,
        born + make_interval(days => demo.dice(h.id, 143, 40))
    FROM head h JOIN total USING (id) LEFT JOIN public.res_partner p ON p.id = h.partner_id, LATERAL (SELECT kind <> 'entry' AS invoice) i;

    INSERT INTO public.account_move_line (id, move_id, journal_id, company_id, company_currency_id, sequence, account_id, currency_id,
        partner_id, tax_line_id, tax_group_id, tax_repartition_line_id, full_reconcile_id, product_id, product_uom_id, create_uid,
        write_uid, move_name, parent_state, ref, name, matching_number, display_type, date, invoice_date, date_maturity,
        analytic_distribution, debit, credit, balance, amount_currency, tax_base_amount, amount_residual, amount_residual_currency,
        quantity, price_unit, price_subtotal, price_total, discount, tax_tag_invert, reconciled, create_date, write_date)
    SELECT row_number() OVER (ORDER BY h.id, place), h.id, h.journal_id, h.company_id, 1, place * 100,
        CASE WHEN note THEN NULL WHEN kind = 'entry' THEN CASE place WHEN 70 THEN 46 ELSE 7 END WHEN term THEN CASE h.journal_id WHEN 1 THEN 7 ELSE 16 END
            WHEN l.display_type = 'tax' THEN 22 WHEN h.journal_id = 1 THEN 27 ELSE 33 END,
        h.currency_id, h.partner_id, CASE WHEN place = 60 THEN 1 END, CASE WHEN place = 60 THEN 1 END, CASE WHEN place = 60 THEN 2 END,
        CASE WHEN term AND h.payment_state = 'paid' THEN h.id END, CASE WHEN product THEN 1 + demo.dice(seed, 150, 60) END,
        CASE WHEN product THEN 1 END, 2, 1, h.name, h.state, m.ref,
        CASE WHEN product THEN demo.product(seed) WHEN place = 60 THEN '15%' WHEN note THEN 'Livré avec soin — handle with care' WHEN term THEN h.name END,
        CASE WHEN term AND h.payment_state = 'paid' THEN h.id::text WHEN term AND h.payment_state = 'partial' THEN 'P' || h.id END,
        CASE WHEN kind = 'entry' THEN 'product' ELSE l.display_type END, h.day, m.invoice_date, CASE WHEN term THEN m.invoice_date_due END,
        CASE WHEN product AND demo.dice(seed, 151, 5) = 0 THEN jsonb_build_object((1 + demo.dice(seed, 152, 200))::text, 100.0) END,
        greatest(balance, 0.00), greatest(-balance, 0.00), balance, side * amount, CASE WHEN place = 60 THEN t.untaxed_here ELSE 0.00 END,
        CASE WHEN term THEN round(balance * open, 2) ELSE 0.00 END, CASE WHEN term THEN round(side * amount * open, 2) ELSE 0.00 END,
        quantity, price, CASE WHEN product THEN amount ELSE 0.00 END, CASE WHEN product THEN round(amount * 1.15, 2) ELSE 0.00 END,
        discount, NOT term, term AND open = 0, h.born, m.write_date
    FROM line l JOIN head h ON h.id = l.move_id JOIN total t ON t.id = h.id JOIN public.account_move m ON m.id = h.id,
        LATERAL (SELECT h.id::bigint * 64 + place AS seed, place = 50 AS note, place = 70 AND kind <> 'entry' AS term,
            place < 50 AND kind <> 'entry' AS product, CASE place WHEN 70 THEN direction ELSE -direction END AS side OFFSET 0) f,
        LATERAL (SELECT side * CASE place WHEN 70 THEN t.total_here WHEN 60 THEN t.tax_here ELSE round(amount / rate, 2) END AS balance OFFSET 0) b;
    DROP TABLE head, line, total;
END $$;

-- Rows were written with their ids: let the sequences go on from there.
CREATE PROCEDURE demo.move_sequences() LANGUAGE plpgsql AS $$
DECLARE
    t text;
BEGIN
    FOR t IN SELECT tablename FROM pg_publication_tables WHERE pubname = 'odoo_pub_scout' LOOP
        EXECUTE format('SELECT setval(pg_get_serial_sequence(%L, ''id''), max(id)) FROM public.%I', 'public.' || t, t);
    END LOOP;
END $$;
