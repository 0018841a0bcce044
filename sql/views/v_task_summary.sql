-- Every task, archived ones too.
CREATE FUNCTION odoo_mirror_internal.v_task_summary(without text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    there CONSTANT boolean := odoo_mirror_internal.has('project_task', 'id', without);
    t CONSTANT text := CASE WHEN there THEN without ELSE 'project_task' END;
    p CONSTANT text := CASE WHEN there THEN odoo_mirror_internal.joined('project_project', 'id', without, 'project_task', 'project_id')
                            ELSE 'project_project' END;
    s CONSTANT text := CASE WHEN there THEN odoo_mirror_internal.joined('project_task_type', 'id', without, 'project_task', 'stage_id')
                            ELSE 'project_task_type' END;
    priority CONSTANT text := odoo_mirror_internal.col('project_task', 't', 'text', t, 'priority');
    -- user_ids is a many2many, and never a column.
    assigned CONSTANT boolean := there AND odoo_mirror_internal.has('project_task_user_rel', 'task_id', without)
        AND odoo_mirror_internal.has('project_task_user_rel', 'user_id', without);
BEGIN
    RETURN pg_catalog.concat(
        'SELECT ', odoo_mirror_internal.col('project_task', 't', 'int4', t, 'id'), ' AS id',
        E',\n    ', odoo_mirror_internal.label('project_task', 't', 'name', t), ' AS task_name',
        -- A date in 16, a timestamp (in UTC) since 17.
        E',\n    ', odoo_mirror_internal.col('project_task', 't', 'date', t, 'date_deadline'), ' AS date_deadline',
        E',\n    ', priority, ' AS priority',
        E',\n    ', odoo_mirror_internal.col('project_task', 't', 'int4', t, 'project_id'), ' AS project_id',
        E',\n    ', odoo_mirror_internal.label('project_project', 'p', 'name', p), ' AS project_name',
        E',\n    ', odoo_mirror_internal.col('project_task', 't', 'int4', t, 'stage_id'), ' AS stage_id',
        E',\n    ', odoo_mirror_internal.label('project_task_type', 's', 'name', s), ' AS stage_name',
        E',\n    ', CASE WHEN assigned THEN
            'ARRAY(SELECT r.user_id::int4 FROM odoo_mirror.project_task_user_rel r WHERE r.task_id = t.id ORDER BY 1)'
            ELSE 'NULL::int4[]' END, ' AS user_ids',
        E',\n    CASE ', priority, ' WHEN ''0'' THEN ''Low'' WHEN ''1'' THEN ''Normal'' WHEN ''2'' THEN ''High'' WHEN ''3'' THEN ''Urgent''',
        ' ELSE ', priority, ' END AS priority_name',
        CASE WHEN there THEN E'\nFROM odoo_mirror.project_task t'
            || odoo_mirror_internal.left_join('project_project', 'p', 'id', without, 'project_task', 't', 'project_id')
            || odoo_mirror_internal.left_join('project_task_type', 's', 'id', without, 'project_task', 't', 'stage_id')
        ELSE E'\nWHERE false' END);
END
$$;
