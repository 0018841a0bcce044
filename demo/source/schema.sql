-- The ten tables of an Odoo 18 database that the mirror's users read, at their true width: Odoo's own column names, order, types,
-- primary keys and main indexes. Foreign keys are left out (replication never looks at them), and so are Odoo's other tables.
-- Loads into an empty database; generate.sql fills it.

SET client_min_messages = warning;

CREATE TABLE public.account_move (
    id serial PRIMARY KEY, sequence_number integer, message_main_attachment_id integer,
    journal_id integer NOT NULL, company_id integer, origin_payment_id integer, statement_line_id integer,
    tax_cash_basis_rec_id integer, tax_cash_basis_origin_move_id integer, auto_post_origin_id integer,
    secure_sequence_number integer, invoice_payment_term_id integer, partner_id integer,
    commercial_partner_id integer, partner_shipping_id integer, partner_bank_id integer,
    fiscal_position_id integer, preferred_payment_method_line_id integer, currency_id integer NOT NULL,
    reversed_entry_id integer, invoice_user_id integer, invoice_incoterm_id integer,
    invoice_cash_rounding_id integer, create_uid integer, write_uid integer, sequence_prefix varchar,
    access_token varchar, name varchar, ref varchar, state varchar NOT NULL, move_type varchar NOT NULL,
    auto_post varchar NOT NULL, inalterable_hash varchar, payment_reference varchar, qr_code_method varchar,
    payment_state varchar, invoice_source_email varchar, invoice_partner_display_name varchar,
    invoice_origin varchar, incoterm_location varchar, date date NOT NULL, auto_post_until date,
    invoice_date date, invoice_date_due date, delivery_date date, sending_data jsonb, narration text,
    invoice_currency_rate numeric, amount_untaxed numeric, amount_tax numeric, amount_total numeric,
    amount_residual numeric, amount_untaxed_signed numeric, amount_untaxed_in_currency_signed numeric,
    amount_tax_signed numeric, amount_total_signed numeric, amount_total_in_currency_signed numeric,
    amount_residual_signed numeric, quick_edit_total_amount numeric, is_storno boolean,
    always_tax_exigible boolean, checked boolean, posted_before boolean, made_sequence_gap boolean,
    is_manually_modified boolean, is_move_sent boolean, create_date timestamp, write_date timestamp,
    expense_sheet_id integer
);

CREATE TABLE public.account_move_line (
    id serial PRIMARY KEY, move_id integer NOT NULL, journal_id integer, company_id integer,
    company_currency_id integer, sequence integer, account_id integer, currency_id integer NOT NULL,
    partner_id integer, reconcile_model_id integer, payment_id integer, statement_line_id integer,
    statement_id integer, group_tax_id integer, tax_line_id integer, tax_group_id integer,
    tax_repartition_line_id integer, full_reconcile_id integer, product_id integer, product_uom_id integer,
    create_uid integer, write_uid integer, move_name varchar, parent_state varchar, ref varchar, name varchar,
    matching_number varchar, display_type varchar NOT NULL, date date, invoice_date date, date_maturity date,
    discount_date date, analytic_distribution jsonb, debit numeric, credit numeric, balance numeric,
    amount_currency numeric, tax_base_amount numeric, amount_residual numeric, amount_residual_currency numeric,
    quantity numeric, price_unit numeric, price_subtotal numeric, price_total numeric, discount numeric,
    discount_amount_currency numeric, discount_balance numeric, is_imported boolean, tax_tag_invert boolean,
    reconciled boolean, create_date timestamp, write_date timestamp, expense_id integer
);

CREATE TABLE public.res_partner (
    id serial PRIMARY KEY, company_id integer, create_date timestamp, name varchar, title integer,
    parent_id integer, user_id integer, state_id integer, country_id integer, industry_id integer,
    color integer, commercial_partner_id integer, create_uid integer, write_uid integer, complete_name varchar,
    ref varchar, lang varchar, tz varchar, vat varchar, company_registry varchar, website varchar,
    function varchar, type varchar, street varchar, street2 varchar, zip varchar, city varchar, email varchar,
    phone varchar, mobile varchar, commercial_company_name varchar, company_name varchar, barcode jsonb,
    comment text, partner_latitude numeric, partner_longitude numeric, active boolean, employee boolean,
    is_company boolean, partner_share boolean, write_date timestamp, message_bounce integer,
    email_normalized varchar, signup_type varchar, specific_property_product_pricelist jsonb,
    partner_gid integer, additional_info varchar, phone_sanitized varchar,
    invoice_template_pdf_report_id integer, supplier_rank integer, customer_rank integer, invoice_warn varchar,
    autopost_bills varchar NOT NULL, credit_limit jsonb, property_account_payable_id jsonb,
    property_account_receivable_id jsonb, property_account_position_id jsonb, property_payment_term_id jsonb,
    property_supplier_payment_term_id jsonb, trust jsonb, ignore_abnormal_invoice_date jsonb,
    ignore_abnormal_invoice_amount jsonb, invoice_sending_method jsonb, invoice_edi_format_store jsonb,
    property_outbound_payment_method_line_id jsonb, property_inbound_payment_method_line_id jsonb,
    invoice_warn_msg text, debit_limit numeric, peppol_endpoint varchar, peppol_eas varchar
);

CREATE TABLE public.project_task (
    id serial PRIMARY KEY, sequence integer, stage_id integer, project_id integer, partner_id integer,
    company_id integer, color integer, displayed_image_id integer, parent_id integer, milestone_id integer,
    recurrence_id integer, create_uid integer, write_uid integer, email_cc varchar, access_token varchar,
    name varchar NOT NULL, priority varchar, state varchar NOT NULL, html_field_history jsonb,
    task_properties jsonb, description text, working_hours_open numeric, working_hours_close numeric,
    active boolean, display_in_project boolean, recurring_task boolean, create_date timestamp,
    write_date timestamp, date_end timestamp, date_assign timestamp, date_deadline timestamp,
    date_last_stage_update timestamp, rating_last_value double precision, allocated_hours double precision,
    working_days_open double precision, working_days_close double precision
);

CREATE TABLE public.hr_expense (
    id serial PRIMARY KEY, message_main_attachment_id integer, employee_id integer NOT NULL,
    company_id integer NOT NULL, product_id integer, product_uom_id integer, sheet_id integer,
    currency_id integer NOT NULL, vendor_id integer, account_id integer, create_uid integer, write_uid integer,
    name varchar NOT NULL, state varchar, payment_mode varchar NOT NULL, date date, accounting_date date,
    analytic_distribution jsonb, description text, quantity numeric NOT NULL, tax_amount_currency numeric,
    tax_amount numeric, total_amount_currency numeric, untaxed_amount_currency numeric, total_amount numeric,
    price_unit numeric NOT NULL, create_date timestamp, write_date timestamp
);

CREATE TABLE public.hr_expense_sheet (
    id serial PRIMARY KEY, message_main_attachment_id integer, company_id integer NOT NULL,
    employee_id integer NOT NULL, department_id integer, user_id integer, currency_id integer,
    employee_journal_id integer, payment_method_line_id integer, journal_id integer, create_uid integer,
    write_uid integer, name varchar NOT NULL, state varchar NOT NULL, approval_state varchar,
    payment_state varchar, accounting_date date, total_amount numeric, untaxed_amount numeric,
    total_tax_amount numeric, amount_residual numeric, approval_date timestamp, create_date timestamp,
    write_date timestamp
);

CREATE TABLE public.hr_employee (
    id serial PRIMARY KEY, resource_id integer NOT NULL, company_id integer NOT NULL,
    resource_calendar_id integer, message_main_attachment_id integer, color integer, department_id integer,
    job_id integer, address_id integer, work_contact_id integer, work_location_id integer, user_id integer,
    parent_id integer, coach_id integer, private_state_id integer, private_country_id integer,
    country_id integer, children integer, country_of_birth integer, bank_account_id integer,
    distance_home_work integer, km_home_work integer, departure_reason_id integer, create_uid integer,
    write_uid integer, name varchar, job_title varchar, work_phone varchar, mobile_phone varchar,
    work_email varchar, private_street varchar, private_street2 varchar, private_city varchar,
    private_zip varchar, private_phone varchar, private_email varchar, lang varchar, gender varchar,
    marital varchar NOT NULL, spouse_complete_name varchar, place_of_birth varchar, ssnid varchar,
    sinid varchar, identification_id varchar, passport_id varchar, permit_no varchar, visa_no varchar,
    certificate varchar, study_field varchar, study_school varchar, emergency_contact varchar,
    emergency_phone varchar, distance_home_work_unit varchar NOT NULL, employee_type varchar NOT NULL,
    barcode varchar, pin varchar, private_car_plate varchar, spouse_birthdate date, birthday date,
    visa_expire date, work_permit_expiration_date date, departure_date date, employee_properties jsonb,
    additional_note text, notes text, departure_description text, active boolean, is_flexible boolean,
    is_fully_flexible boolean, work_permit_scheduled_activity boolean, create_date timestamp,
    write_date timestamp, expense_manager_id integer
);

CREATE TABLE public.project_project (
    id serial PRIMARY KEY, account_id integer, alias_id integer NOT NULL, sequence integer, partner_id integer,
    company_id integer, color integer, user_id integer, stage_id integer, last_update_id integer,
    create_uid integer, write_uid integer, access_token varchar, privacy_visibility varchar NOT NULL,
    rating_status varchar NOT NULL, rating_status_period varchar NOT NULL, last_update_status varchar NOT NULL,
    date_start date, date date, name jsonb NOT NULL, label_tasks jsonb, task_properties_definition jsonb,
    description text, active boolean, allow_task_dependencies boolean, allow_milestones boolean,
    rating_active boolean, rating_request_deadline timestamp, create_date timestamp, write_date timestamp,
    x_plan2_id integer, x_plan3_id integer
);

CREATE TABLE public.project_task_type (
    id serial PRIMARY KEY, sequence integer, mail_template_id integer, rating_template_id integer,
    user_id integer, create_uid integer, write_uid integer, name jsonb NOT NULL, active boolean, fold boolean,
    auto_validation_state boolean, create_date timestamp, write_date timestamp, sms_template_id integer
);

CREATE TABLE public.project_task_user_rel (
    id serial PRIMARY KEY, task_id integer NOT NULL, user_id integer NOT NULL, stage_id integer,
    create_uid integer, write_uid integer, create_date timestamp, write_date timestamp
);

-- Odoo 18 gives this many2many table a model of its own, hence an id beside its pair (in other versions the pair is the key).
ALTER TABLE public.project_task_user_rel
    ADD CONSTRAINT project_task_user_rel_project_personal_stage_unique UNIQUE (task_id, user_id);
ALTER TABLE public.hr_employee
    ADD CONSTRAINT hr_employee_user_uniq UNIQUE (user_id, company_id);

CREATE INDEX account_move__company_id_index ON public.account_move (company_id);
CREATE INDEX account_move__date_index ON public.account_move (date);
CREATE INDEX account_move__invoice_date_index ON public.account_move (invoice_date);
CREATE INDEX account_move__invoice_date_due_index ON public.account_move (invoice_date_due);
CREATE INDEX account_move__move_type_index ON public.account_move (move_type);
CREATE INDEX account_move__partner_id_index ON public.account_move (partner_id);
CREATE INDEX account_move__reversed_entry_id_index ON public.account_move (reversed_entry_id)
    WHERE reversed_entry_id IS NOT NULL;
CREATE INDEX account_move_journal_id_company_id_idx ON public.account_move (journal_id, company_id, date);
CREATE INDEX account_move_payment_idx ON public.account_move (journal_id, state, payment_state, move_type, date);
CREATE INDEX account_move_sequence_index
    ON public.account_move (journal_id, sequence_prefix DESC, sequence_number DESC, name);
CREATE UNIQUE INDEX account_move_unique_name ON public.account_move (name, journal_id)
    WHERE state = 'posted' AND name <> '/';

CREATE INDEX account_move_line__move_id_index ON public.account_move_line (move_id);
CREATE INDEX account_move_line__journal_id_index ON public.account_move_line (journal_id);
CREATE INDEX account_move_line__date_maturity_index ON public.account_move_line (date_maturity);
CREATE INDEX account_move_line__matching_number_index ON public.account_move_line (matching_number);
CREATE INDEX account_move_line__move_name_index ON public.account_move_line (move_name);
CREATE INDEX account_move_line__unreconciled_index ON public.account_move_line (account_id, partner_id)
    WHERE (reconciled IS NULL OR reconciled = false OR reconciled IS NOT true) AND parent_state = 'posted';
CREATE INDEX account_move_line_account_id_date_idx ON public.account_move_line (account_id, date);
CREATE INDEX account_move_line_date_name_id_idx ON public.account_move_line (date DESC, move_name DESC, id);
CREATE INDEX account_move_line_partner_id_ref_idx ON public.account_move_line (partner_id, ref);

CREATE INDEX res_partner__commercial_partner_id_index ON public.res_partner (commercial_partner_id);
CREATE INDEX res_partner__complete_name_index ON public.res_partner (complete_name);
CREATE INDEX res_partner__name_index ON public.res_partner (name);
CREATE INDEX res_partner__parent_id_index ON public.res_partner (parent_id);
CREATE INDEX res_partner__ref_index ON public.res_partner (ref);
CREATE INDEX res_partner__vat_index ON public.res_partner (vat);

CREATE INDEX project_task__date_deadline_index ON public.project_task (date_deadline);
CREATE INDEX project_task__date_last_stage_update_index ON public.project_task (date_last_stage_update);
CREATE INDEX project_task__parent_id_index ON public.project_task (parent_id);
CREATE INDEX project_task__project_id_index ON public.project_task (project_id);
CREATE INDEX project_task__stage_id_index ON public.project_task (stage_id);
CREATE INDEX project_task__state_index ON public.project_task (state);
CREATE INDEX project_task_user_rel__task_id_index ON public.project_task_user_rel (task_id);
CREATE INDEX project_task_user_rel__user_id_index ON public.project_task_user_rel (user_id);
CREATE INDEX project_task_type__user_id_index ON public.project_task_type (user_id);
CREATE INDEX project_project__date_index ON public.project_project (date);
CREATE INDEX project_project__stage_id_index ON public.project_project (stage_id);

CREATE INDEX hr_expense__sheet_id_index ON public.hr_expense (sheet_id);
CREATE INDEX hr_expense__state_index ON public.hr_expense (state);
CREATE INDEX hr_expense_sheet__state_index ON public.hr_expense_sheet (state);
CREATE INDEX hr_employee__company_id_index ON public.hr_employee (company_id);
CREATE INDEX hr_employee__resource_id_index ON public.hr_employee (resource_id);

CREATE PUBLICATION odoo_pub_scout FOR TABLE
    public.account_move, public.account_move_line, public.res_partner, public.project_task, public.hr_expense,
    public.hr_expense_sheet, public.hr_employee, public.project_project, public.project_task_type,
    public.project_task_user_rel;
