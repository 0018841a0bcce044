"""Asks a running Superset for each chart's data, as its page would, and looks at what comes; run by try.sh."""

import json
import os
import sys
import urllib.error
import urllib.request

base = os.environ["SUPERSET_URL"]


def ask(path: str, body: dict | None = None, token: str | None = None) -> dict:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    data = None
    if body is not None:
        headers["Content-Type"] = "application/json"
        data = json.dumps(body).encode()
    request = urllib.request.Request(base + path, data, headers)
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        sys.exit(f"{path}: {error.code} {error.read().decode()[:2000]}")


login = {"username": "admin", "password": os.environ["SUPERSET_ADMIN_PASSWORD"], "provider": "db"}
token = ask("/api/v1/security/login", login)["access_token"]
dashboards = ask("/api/v1/dashboard/odoo", token=token)["result"]
charts = ask("/api/v1/dashboard/odoo/charts", token=token)["result"]
datasets = ask("/api/v1/dashboard/odoo/datasets", token=token)["result"]
every = ask("/api/v1/dataset/?q=(page_size:100)", token=token)["result"]
views = sorted(found["table_name"] for found in every if found["kind"] == "physical")

wanted_views = ["v_expense_by_employee", "v_expense_summary", "v_invoice_summary", "v_revenue_by_partner", "v_task_summary"]
assert views == wanted_views, views
WANTED = {
    "Revenue by month": {"invoice_date", "Net revenue"},
    "Top partners": {"partner_name", "invoice_count", "net_revenue", "last_invoice_date"},
    "Receivables by age": {"age", "Documents", "Open"},
    "Expenses by state": {"state_name", "count"},
    "Overdue tasks": {"task_name", "project_name", "stage_name", "date_deadline", "days_overdue", "priority_name"},
    "Expenses by employee": {"employee_name", "expense_count", "total_expenses", "approved_expenses", "posted_expenses"},
}
assert {chart["slice_name"] for chart in charts} == set(WANTED), charts
assert len(datasets) == 5, [found["table_name"] for found in datasets]

told = []
for chart in charts:
    name = chart["slice_name"]
    [result] = ask(f"/api/v1/chart/{chart['id']}/data/", token=token)["result"]
    assert result["error"] is None, result["error"]
    rows = result["data"]
    assert rows, f"{name}: no rows: {result['query']}"
    assert set(rows[0]) >= WANTED[name], (name, rows[0])
    if name == "Overdue tasks":
        assert all(row["days_overdue"] > 0 for row in rows), rows
        assert rows == sorted(rows, key=lambda row: -row["days_overdue"]), "most overdue first"
    if name == "Top partners":
        assert [row["net_revenue"] for row in rows] == sorted((row["net_revenue"] for row in rows), key=float, reverse=True)
    if name == "Receivables by age":
        assert [row["age"] for row in rows] == sorted(row["age"] for row in rows), rows
    told.append(f"{name} {len(rows)}")

# Also what isn't charted: each view answers through Superset.
for dataset in every:
    context = {"datasource": {"id": dataset["id"], "type": "table"}, "result_format": "json", "result_type": "full",
               "queries": [{"columns": [], "metrics": ["count"], "row_limit": 1}]}
    [result] = ask("/api/v1/chart/data", context, token)["result"]
    assert result["data"][0]["count"] > 0, (dataset["table_name"], result)
print(f"superset: dashboard {dashboards['dashboard_title']}: rows of {', '.join(told)}")
