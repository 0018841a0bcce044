-- What the benchmark does to the source (demo/source: schema.sql and generate.sql are loaded).
-- Deterministic: the same calls on the same rows write the same WAL.

CREATE SCHEMA bench;

-- The last thing that each piece of work writes: where it shows, everything before it does.
CREATE TABLE public.bench_mark (id int PRIMARY KEY, n bigint NOT NULL);
INSERT INTO public.bench_mark VALUES (1, 0);
ALTER PUBLICATION odoo_pub_scout ADD TABLE public.bench_mark;

CREATE PROCEDURE bench.mark(mark bigint) LANGUAGE sql AS 'UPDATE public.bench_mark SET n = mark WHERE id = 1';

-- One transaction's work, 8 changes, as Odoo does it: an invoice with three lines is written, then
-- summed up, posted, its last line completed, and its partner touched. Three of the eight hit a row
-- that the same transaction wrote; in real traffic it is half.
CREATE FUNCTION bench.invoice(i bigint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    m public.account_move;
    l public.account_move_line;
    moves constant int := 50000 * current_setting('bench.scale')::numeric;
BEGIN
    SELECT * INTO m FROM public.account_move WHERE id = 1 + i * 37 % moves;
    m.id := nextval('public.account_move_id_seq');
    m.state := 'draft';
    m.name := NULL;
    INSERT INTO public.account_move VALUES (m.*);
    FOR line IN 0 .. 2 LOOP
        SELECT * INTO l FROM public.account_move_line WHERE id = 1 + (i * 37 + line) % moves;
        l.id := nextval('public.account_move_line_id_seq');
        l.move_id := m.id;
        INSERT INTO public.account_move_line VALUES (l.*);
    END LOOP;
    UPDATE public.account_move SET amount_total = amount_total + 1, amount_residual = amount_total + 1 WHERE id = m.id;
    UPDATE public.account_move SET state = 'posted', name = 'BENCH/' || id, posted_before = true WHERE id = m.id;
    UPDATE public.account_move_line SET move_name = 'BENCH/' || m.id, parent_state = 'posted' WHERE id = l.id;
    UPDATE public.res_partner SET customer_rank = coalesce(customer_rank, 0) + 1, write_date = now()
        WHERE id = coalesce(m.partner_id, 1);
END $$;

-- For the lag: the mark goes with the invoice.
CREATE FUNCTION bench.marked_invoice(i bigint) RETURNS void LANGUAGE sql AS $$
    SELECT bench.invoice(i);
    UPDATE public.bench_mark SET n = i WHERE id = 1;
$$;

CREATE PROCEDURE bench.w1(transactions int) LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1 .. transactions LOOP
        PERFORM bench.invoice(i);
        COMMIT;
    END LOOP;
END $$;

-- No index of the destination has one of these columns.
CREATE PROCEDURE bench.w2(rows int) LANGUAGE sql AS $$
    UPDATE public.account_move_line SET price_unit = price_unit + 1, write_date = now() WHERE id <= rows
$$;

CREATE PROCEDURE bench.w3(rows int) LANGUAGE plpgsql AS $$
DECLARE
    columns text;
BEGIN
    SELECT string_agg(quote_ident(attname), ', ') INTO columns FROM pg_attribute
        WHERE attrelid = 'public.account_move_line'::regclass AND attnum > 0 AND NOT attisdropped AND attname <> 'id';
    EXECUTE format('INSERT INTO public.account_move_line (id, %1$s)
        SELECT nextval(''public.account_move_line_id_seq''), %1$s FROM public.account_move_line, generate_series(1, 10) LIMIT %2$s', columns, rows);
END $$;

CREATE PROCEDURE bench.w4(transactions int) LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1 .. transactions LOOP
        UPDATE public.res_partner SET customer_rank = i, write_date = clock_timestamp() WHERE id = 1 + i % 100;
        COMMIT;
    END LOOP;
END $$;

CREATE PROCEDURE bench.w5(rows int) LANGUAGE sql AS $$
    DELETE FROM public.account_move_line WHERE id > (SELECT max(id) - rows FROM public.account_move_line)
$$;
