-- Live traffic: each procedure is one business operation, and touches its rows as Odoo's ORM does: insert with half of the fields,
-- then flush computed ones in further updates of the same row, all in one transaction (median about 6 changes).
-- demo.operation(n) picks the operation and its rows by a hash of n: the same n's in the same order make the same changes
-- (but for timestamps, which are the clock's). Load after generate.sql.

CREATE SEQUENCE IF NOT EXISTS demo.operation_seq;

CREATE FUNCTION demo.now() RETURNS timestamp LANGUAGE sql STABLE AS $$ SELECT now() AT TIME ZONE 'UTC' $$;

-- A point in a table's ids that depends on n only as long as the table doesn't grow. An operation takes the first row after it that fits.
CREATE FUNCTION demo.somewhere(n bigint, t regclass) RETURNS int LANGUAGE plpgsql STABLE AS $$
DECLARE
    last bigint;
BEGIN
    EXECUTE format('SELECT coalesce(max(id), 1) FROM %s', t) INTO last;
    RETURN 1 + demo.dice(n, 200, last);
END $$;

-- Write an invoice's sums from its lines; its payment term line is the counterweight.
CREATE PROCEDURE demo.sum_up(move int) LANGUAGE plpgsql AS $$
DECLARE
    s record;
BEGIN
    SELECT -sum(balance) AS total_here, -sum(amount_currency) AS total, -coalesce(sum(balance) FILTER (WHERE l.display_type = 'tax'), 0) AS tax_here,
            -coalesce(sum(amount_currency) FILTER (WHERE l.display_type = 'tax'), 0) AS tax
        INTO s FROM public.account_move_line l WHERE move_id = move AND l.display_type IN ('product', 'tax');
    UPDATE public.account_move_line SET balance = s.total_here, debit = greatest(s.total_here, 0), credit = greatest(-s.total_here, 0),
        amount_currency = s.total, amount_residual = s.total_here, amount_residual_currency = s.total
        WHERE move_id = move AND display_type = 'payment_term';
    UPDATE public.account_move SET amount_untaxed = abs(s.total - s.tax), amount_tax = abs(s.tax), amount_total = abs(s.total),
        amount_residual = abs(s.total), amount_untaxed_signed = s.total_here - s.tax_here,
        amount_untaxed_in_currency_signed = s.total - s.tax, amount_tax_signed = s.tax_here, amount_total_signed = s.total_here,
        amount_total_in_currency_signed = s.total, amount_residual_signed = s.total_here WHERE id = move;
END $$;

CREATE PROCEDURE demo.new_invoice(n bigint, kind text DEFAULT 'out_invoice') LANGUAGE plpgsql AS $$
DECLARE
    move int;
    line int;
    taxed numeric;
    currency int := demo.currency(n);
    customer int := demo.somewhere(n, 'public.res_partner');
    journal int := CASE WHEN kind LIKE 'out%' THEN 1 ELSE 2 END;
    side int := CASE WHEN kind IN ('out_invoice', 'in_refund') THEN -1 ELSE 1 END;
BEGIN
    INSERT INTO public.account_move (journal_id, company_id, partner_id, partner_shipping_id, currency_id, create_uid, write_uid, state,
        move_type, auto_post, date, invoice_date, invoice_currency_rate, create_date, write_date, is_storno, always_tax_exigible, checked,
        posted_before, narration)
    VALUES (journal, 1, customer, customer, currency, 2, 2, 'draft', kind, 'no', demo.now()::date, demo.now()::date, demo.rate(currency),
        demo.now(), demo.now(), false, false, true, false, CASE WHEN demo.dice(n, 201, 25) = 0 THEN demo.long_text(n) END)
    RETURNING id INTO move;
    FOR place IN 1 .. 1 + demo.dice(n, 202, 3) LOOP
        INSERT INTO public.account_move_line (move_id, journal_id, company_id, company_currency_id, sequence, account_id, currency_id,
            partner_id, product_id, create_uid, write_uid, name, display_type, quantity, price_unit, discount, create_date, write_date,
            debit, credit, balance, amount_currency)
        VALUES (move, journal, 1, 1, place * 100, CASE journal WHEN 1 THEN 27 ELSE 33 END, currency, customer,
            1 + demo.dice(n + place, 203, 60), 2, 2, demo.product(n + place), 'product', 1 + demo.dice(n + place, 204, 9),
            (500 + demo.dice(n + place, 205, 90000)) / 100.0, 0.0, demo.now(), demo.now(), 0.00, 0.00, 0.00, 0.00)
        RETURNING id INTO line;
        UPDATE public.account_move_line SET parent_state = 'draft', date = demo.now()::date, invoice_date = demo.now()::date,
            amount_residual = 0.00, amount_residual_currency = 0.00, price_subtotal = quantity * price_unit,
            price_total = round(quantity * price_unit * 1.15, 2), tax_tag_invert = true, reconciled = false WHERE id = line;
        UPDATE public.account_move_line SET amount_currency = side * price_subtotal, balance = side * round(price_subtotal / demo.rate(currency), 2),
            debit = greatest(side, 0) * round(price_subtotal / demo.rate(currency), 2),
            credit = greatest(-side, 0) * round(price_subtotal / demo.rate(currency), 2) WHERE id = line;
    END LOOP;
    SELECT round(sum(price_subtotal) * 0.15, 2) INTO taxed FROM public.account_move_line WHERE move_id = move;
    INSERT INTO public.account_move_line (move_id, journal_id, company_id, company_currency_id, sequence, account_id, currency_id,
        partner_id, tax_line_id, create_uid, write_uid, name, display_type, date, parent_state, debit, credit, balance, amount_currency,
        create_date, write_date)
    VALUES (move, journal, 1, 1, 10000, 22, currency, customer, 1, 2, 2, '15%', 'tax', demo.now()::date, 'draft',
            greatest(side, 0) * round(taxed / demo.rate(currency), 2), greatest(-side, 0) * round(taxed / demo.rate(currency), 2),
            side * round(taxed / demo.rate(currency), 2), side * taxed, demo.now(), demo.now()),
        (move, journal, 1, 1, 12000, CASE journal WHEN 1 THEN 7 ELSE 16 END, currency, customer, NULL, 2, 2, NULL, 'payment_term',
            demo.now()::date, 'draft', 0.00, 0.00, 0.00, 0.00, demo.now(), demo.now());
    CALL demo.sum_up(move);
    UPDATE public.account_move m SET invoice_date_due = m.invoice_date + 30, sequence_number = 0, sequence_prefix = '', payment_state = 'not_paid',
        commercial_partner_id = p.commercial_partner_id, invoice_partner_display_name = p.complete_name
        FROM public.res_partner p WHERE m.id = move AND p.id = m.partner_id;
END $$;

CREATE PROCEDURE demo.post_invoice(n bigint) LANGUAGE plpgsql AS $$
DECLARE
    m public.account_move;
    label text;
BEGIN
    SELECT * INTO m FROM public.account_move WHERE id >= demo.somewhere(n, 'public.account_move') AND state = 'draft'
        AND move_type IN ('out_invoice', 'in_invoice') ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED;
    IF m.id IS NULL THEN CALL demo.new_invoice(n); RETURN; END IF;
    label := CASE m.journal_id WHEN 1 THEN 'INV/' ELSE 'BILL/' END || extract(year FROM m.date) || '/';
    UPDATE public.account_move SET state = 'posted', write_uid = 1, write_date = demo.now(), posted_before = true WHERE id = m.id;
    UPDATE public.account_move SET name = label || lpad(m.id::text, 5, '0') WHERE id = m.id;
    UPDATE public.account_move SET sequence_number = m.id, sequence_prefix = label WHERE id = m.id;
    UPDATE public.account_move SET payment_reference = name WHERE id = m.id;
    UPDATE public.account_move_line SET move_name = label || lpad(m.id::text, 5, '0'), parent_state = 'posted', write_uid = 1 WHERE move_id = m.id;
    UPDATE public.res_partner SET customer_rank = coalesce(customer_rank, 0) + 1 WHERE id = m.partner_id;
END $$;

-- A payment is an entry of two lines; its amount is taken off the invoice's residual, wholly or in part.
CREATE PROCEDURE demo.register_payment(n bigint) LANGUAGE plpgsql AS $$
DECLARE
    m public.account_move;
    payment int;
    paid numeric;
    paid_here numeric;
    whole boolean := demo.dice(n, 206, 4) > 0;
BEGIN
    SELECT * INTO m FROM public.account_move WHERE id >= demo.somewhere(n, 'public.account_move') AND state = 'posted'
        AND move_type = 'out_invoice' AND payment_state IN ('not_paid', 'partial') ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED;
    IF m.id IS NULL THEN CALL demo.edit_partner(n); RETURN; END IF;
    paid := CASE WHEN whole THEN m.amount_residual ELSE round(m.amount_residual / 2, 2) END;
    paid_here := CASE WHEN whole THEN m.amount_residual_signed ELSE round(m.amount_residual_signed / 2, 2) END;
    INSERT INTO public.account_move (journal_id, company_id, partner_id, currency_id, create_uid, write_uid, ref, state, move_type,
        auto_post, date, amount_total, amount_total_signed, amount_residual, create_date, write_date)
    VALUES (6, m.company_id, m.partner_id, m.currency_id, 2, 1, m.name, 'draft', 'entry', 'no', demo.now()::date, paid, paid_here, 0.00,
        demo.now(), demo.now())
    RETURNING id INTO payment;
    INSERT INTO public.account_move_line (move_id, journal_id, company_id, company_currency_id, sequence, account_id, currency_id,
        partner_id, create_uid, write_uid, ref, name, display_type, date, parent_state, debit, credit, balance, amount_currency,
        create_date, write_date)
    SELECT payment, 6, m.company_id, 1, 100, account, m.currency_id, m.partner_id, 2, 1, m.name, 'Customer Payment', 'product',
        demo.now()::date, 'draft', greatest(side * paid_here, 0), greatest(-side * paid_here, 0), side * paid_here, side * paid, demo.now(), demo.now()
    FROM (VALUES (46, 1), (7, -1)) v (account, side);
    UPDATE public.account_move SET state = 'posted', payment_state = 'not_paid' WHERE id = payment;
    UPDATE public.account_move SET name = 'PBNK1/' || extract(year FROM date) || '/' || lpad(id::text, 5, '0') WHERE id = payment;
    UPDATE public.account_move_line SET parent_state = 'posted', move_name = 'PBNK1/' || payment, matching_number = 'P' || payment
        WHERE move_id = payment;
    UPDATE public.account_move_line SET amount_residual = amount_residual - paid_here,
        amount_residual_currency = amount_residual_currency - paid, matching_number = 'P' || payment, reconciled = whole,
        write_date = demo.now() WHERE move_id = m.id AND display_type = 'payment_term';
    UPDATE public.account_move SET amount_residual = amount_residual - paid, amount_residual_signed = amount_residual_signed - paid_here,
        payment_state = CASE WHEN whole THEN 'paid' ELSE 'partial' END, write_date = demo.now() WHERE id = m.id;
END $$;

CREATE PROCEDURE demo.credit_note(n bigint) LANGUAGE plpgsql AS $$
DECLARE
    m public.account_move;
    refund int;
BEGIN
    SELECT * INTO m FROM public.account_move WHERE id >= demo.somewhere(n, 'public.account_move') AND state = 'posted'
        AND move_type = 'out_invoice' AND payment_state = 'not_paid' ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED;
    IF m.id IS NULL THEN CALL demo.edit_partner(n); RETURN; END IF;
    INSERT INTO public.account_move (journal_id, company_id, partner_id, commercial_partner_id, currency_id, reversed_entry_id, create_uid,
        write_uid, ref, state, move_type, auto_post, date, invoice_date, invoice_date_due, invoice_currency_rate, payment_state,
        invoice_partner_display_name, create_date, write_date)
    VALUES (1, m.company_id, m.partner_id, m.commercial_partner_id, m.currency_id, m.id, 2, 1, 'Reversal of: ' || m.name, 'draft',
        'out_refund', 'no', demo.now()::date, demo.now()::date, demo.now()::date, m.invoice_currency_rate, 'not_paid',
        m.invoice_partner_display_name, demo.now(), demo.now())
    RETURNING id INTO refund;
    INSERT INTO public.account_move_line (move_id, journal_id, company_id, company_currency_id, sequence, account_id, currency_id,
        partner_id, product_id, create_uid, write_uid, name, display_type, date, parent_state, debit, credit, balance, amount_currency,
        quantity, price_unit, price_subtotal, price_total, discount, create_date, write_date)
    SELECT refund, journal_id, company_id, 1, sequence, account_id, currency_id, partner_id, product_id, 2, 1, name, display_type,
        demo.now()::date, 'draft', credit, debit, -balance, -amount_currency, quantity, price_unit, price_subtotal, price_total, discount,
        demo.now(), demo.now()
    FROM public.account_move_line WHERE move_id = m.id ORDER BY id;
    CALL demo.sum_up(refund);
    UPDATE public.account_move SET state = 'posted', payment_state = 'paid', amount_residual = 0.00, amount_residual_signed = 0.00,
        name = 'RINV/' || extract(year FROM date) || '/' || lpad(id::text, 5, '0') WHERE id = refund;
    UPDATE public.account_move_line SET parent_state = 'posted', reconciled = display_type = 'payment_term', amount_residual = 0.00,
        amount_residual_currency = 0.00 WHERE move_id = refund OR move_id = m.id AND display_type = 'payment_term';
    UPDATE public.account_move SET payment_state = 'reversed', amount_residual = 0.00, amount_residual_signed = 0.00, write_date = demo.now()
        WHERE id = m.id;
END $$;

CREATE PROCEDURE demo.delete_draft(n bigint) LANGUAGE plpgsql AS $$
DECLARE
    move int;
BEGIN
    SELECT id INTO move FROM public.account_move WHERE id >= demo.somewhere(n, 'public.account_move') AND state = 'draft'
        ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED;
    IF move IS NULL THEN CALL demo.edit_partner(n); RETURN; END IF;
    DELETE FROM public.account_move_line WHERE move_id = move;
    DELETE FROM public.account_move WHERE id = move;
END $$;

-- An employee hands in a sheet with one to three expenses; each is written, computed, and put on the sheet.
CREATE PROCEDURE demo.hand_in_expenses(n bigint) LANGUAGE plpgsql AS $$
DECLARE
    sheet int;
    expense int;
    who int := demo.somewhere(n, 'public.hr_employee');
BEGIN
    INSERT INTO public.hr_expense_sheet (company_id, employee_id, currency_id, employee_journal_id, create_uid, write_uid, name, state,
        payment_state, total_amount, untaxed_amount, total_tax_amount, create_date, write_date)
    VALUES (1, who, 1, 2, 2, 2, 'Business trip ' || n, 'draft', 'not_paid', 0.00, 0.00, 0.00, demo.now(), demo.now()) RETURNING id INTO sheet;
    FOR place IN 1 .. 1 + demo.dice(n, 207, 3) LOOP
        INSERT INTO public.hr_expense (employee_id, company_id, currency_id, create_uid, write_uid, name, state, payment_mode, date, quantity,
            price_unit, create_date, write_date)
        VALUES (who, 1, 1, 2, 2, demo.pick(n + place, 208, '{Taxi,Hôtel,"Team lunch 🍕",Train}'), 'draft', 'own_account',
            demo.now()::date, 1.00, (500 + demo.dice(n + place, 209, 50000)) / 100.0, demo.now(), demo.now()) RETURNING id INTO expense;
        UPDATE public.hr_expense SET total_amount = price_unit, total_amount_currency = price_unit, tax_amount = round(price_unit * 3 / 23, 2),
            tax_amount_currency = round(price_unit * 3 / 23, 2), untaxed_amount_currency = price_unit - round(price_unit * 3 / 23, 2)
            WHERE id = expense;
        UPDATE public.hr_expense SET sheet_id = sheet, state = 'reported' WHERE id = expense;
    END LOOP;
    UPDATE public.hr_expense_sheet s SET total_amount = e.total, total_tax_amount = e.tax, untaxed_amount = e.total - e.tax, amount_residual = e.total
        FROM (SELECT sum(total_amount) AS total, sum(tax_amount) AS tax FROM public.hr_expense WHERE sheet_id = sheet) e WHERE s.id = sheet;
    UPDATE public.hr_expense_sheet SET state = 'submit', approval_state = 'submit' WHERE id = sheet;
    UPDATE public.hr_expense SET state = 'submitted' WHERE sheet_id = sheet;
END $$;

-- A manager approves (three of four) or refuses a submitted sheet.
CREATE PROCEDURE demo.decide_expenses(n bigint) LANGUAGE plpgsql AS $$
DECLARE
    sheet int;
    yes boolean := demo.dice(n, 210, 4) > 0;
BEGIN
    SELECT id INTO sheet FROM public.hr_expense_sheet WHERE id >= demo.somewhere(n, 'public.hr_expense_sheet') AND state = 'submit'
        ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED;
    IF sheet IS NULL THEN CALL demo.hand_in_expenses(n); RETURN; END IF;
    UPDATE public.hr_expense_sheet SET approval_state = CASE WHEN yes THEN 'approve' ELSE 'cancel' END, user_id = 2 WHERE id = sheet;
    UPDATE public.hr_expense_sheet SET state = CASE WHEN yes THEN 'approve' ELSE 'cancel' END,
        approval_date = CASE WHEN yes THEN demo.now() END, write_date = demo.now() WHERE id = sheet;
    UPDATE public.hr_expense SET state = CASE WHEN yes THEN 'approved' ELSE 'refused' END, write_date = demo.now() WHERE sheet_id = sheet;
END $$;

-- A task goes to another stage; one time in two somebody else takes it over.
CREATE PROCEDURE demo.move_task(n bigint) LANGUAGE plpgsql AS $$
DECLARE
    task int := demo.somewhere(n, 'public.project_task');
    stage int := 1 + demo.dice(n, 211, 24);
BEGIN
    UPDATE public.project_task SET stage_id = stage, write_date = demo.now(), write_uid = 2 WHERE id = task;
    UPDATE public.project_task SET date_last_stage_update = demo.now(),
        date_end = CASE WHEN (stage - 1) % 4 >= 2 THEN demo.now() END WHERE id = task;
    UPDATE public.project_task SET state = CASE (stage - 1) % 4 WHEN 2 THEN '1_done' WHEN 3 THEN '1_canceled' ELSE '01_in_progress' END,
        working_days_close = (stage % 9) / 7.0 WHERE id = task;
    IF demo.dice(n, 212, 2) = 0 THEN
        DELETE FROM public.project_task_user_rel WHERE task_id = task;
        INSERT INTO public.project_task_user_rel (task_id, user_id, stage_id, create_uid, write_uid, create_date, write_date)
        SELECT task, 2 + (demo.dice(n, 213, 20) + i * 7) % 60, 25 + demo.dice(n, 214, 16), 2, 2, demo.now(), demo.now()
        FROM generate_series(0, demo.dice(n, 215, 2)) i
        ON CONFLICT DO NOTHING;
        UPDATE public.project_task SET date_assign = demo.now() WHERE id = task;
    END IF;
    IF demo.dice(n, 216, 20) = 0 THEN
        UPDATE public.project_task SET description = demo.long_text(n) WHERE id = task;
    END IF;
END $$;

-- An address is edited; a company's contacts follow it. Long comments stay as they are, out of line.
CREATE PROCEDURE demo.edit_partner(n bigint) LANGUAGE plpgsql AS $$
DECLARE
    partner int := demo.somewhere(n, 'public.res_partner');
BEGIN
    UPDATE public.res_partner SET phone = '+32 4 ' || 1000000 + demo.dice(n, 217, 9000000), write_uid = 2, write_date = demo.now() WHERE id = partner;
    UPDATE public.res_partner SET phone_sanitized = phone WHERE id = partner;
    UPDATE public.res_partner SET street = demo.dice(n, 218, 400) || ' rue de l''Église', write_date = demo.now()
        WHERE id IN (SELECT id FROM public.res_partner WHERE id = partner OR parent_id = partner ORDER BY id FOR UPDATE);
    IF demo.dice(n, 219, 10) = 0 THEN
        INSERT INTO public.res_partner (create_date, name, complete_name, parent_id, commercial_partner_id, type, active, is_company,
            autopost_bills, write_date)
        SELECT demo.now(), demo.person(n), demo.person(n), id, id, 'contact', true, false, 'ask', demo.now()
        FROM public.res_partner WHERE id = partner AND is_company;
    END IF;
END $$;

-- Month end: some hundred lines get their analytic account, and their moves are marked as reviewed.
CREATE PROCEDURE demo.close_month(n bigint) LANGUAGE plpgsql AS $$
DECLARE
    first int := demo.somewhere(n, 'public.account_move_line');
BEGIN
    UPDATE public.account_move_line SET analytic_distribution = jsonb_build_object((1 + demo.dice(n, 220, 200))::text, 100.0),
        write_date = demo.now()
        WHERE id IN (SELECT id FROM public.account_move_line WHERE id BETWEEN first AND first + 399 ORDER BY id FOR UPDATE);
    UPDATE public.account_move SET checked = true, write_date = demo.now() WHERE id IN (SELECT id FROM public.account_move
        WHERE id IN (SELECT move_id FROM public.account_move_line WHERE id BETWEEN first AND first + 399) ORDER BY id FOR UPDATE);
END $$;

CREATE PROCEDURE demo.operation(n bigint) LANGUAGE plpgsql AS $$
DECLARE
    d int := demo.dice(n, 221, 1000);
BEGIN
    CASE
        WHEN d < 110 THEN CALL demo.new_invoice(n, demo.pick(n, 222, '{out_invoice,out_invoice,in_invoice}'));
        WHEN d < 220 THEN CALL demo.post_invoice(n);
        WHEN d < 320 THEN CALL demo.register_payment(n);
        WHEN d < 335 THEN CALL demo.credit_note(n);
        WHEN d < 350 THEN CALL demo.delete_draft(n);
        WHEN d < 420 THEN CALL demo.hand_in_expenses(n);
        WHEN d < 500 THEN CALL demo.decide_expenses(n);
        WHEN d < 760 THEN CALL demo.move_task(n);
        WHEN d < 996 THEN CALL demo.edit_partner(n);
        ELSE CALL demo.close_month(n);
    END CASE;
END $$;
