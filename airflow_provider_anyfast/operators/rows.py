"""Checking the rows of a table for mapped tasks, before anything is billed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from airflow_provider_anyfast.batch.options import RowsParameters
from airflow_provider_anyfast.exceptions import fail_fast
from airflow_provider_anyfast.parameters import check_literals, read

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.sdk import Context

    from airflow_provider_anyfast.values import Templated, TemplatedText


class CheckRowsOperator(BaseOperator):
    """Renders a template for every row of a table and checks them all, for tasks mapped over the rows. Not billed.

    Args:
        rows: a list of objects, or a CSV, Excel, JSON or JSON Lines file, local or in object storage.
        template: parameters of ``GenerateVideoOperator``, rendered with Jinja for each row, as in
            ``GenerateVideoBatchOperator``.
        prompt_param: the DAG param that contains the prompt's template, if users enter it in the trigger form.
        key_column: the column whose value names a row in messages; None takes the first one.
        asset_group: name or id of the group in which files that the template names as references become assets. This
            task does not open the files; each task that makes a video checks its own before anything is billed.

    Returns:
        The parameters of each row's video, for ``GenerateVideoOperator.partial(…).expand_kwargs(…)``. The XCom ``rows``
        has the rows themselves, for ``WriteReportOperator``.

    Raises:
        InvalidRequestError: naming every row that AnyFast would refuse.
        StorageError: the storage does not respond.
    """

    template_fields: Sequence[str] = ("rows", "key_column", "asset_group")
    ui_color = "#e8f0ff"

    def __init__(
        self,
        *,
        rows: Templated[Sequence[dict[str, Any]]],
        template: dict[str, Any],
        prompt_param: str | None = None,
        key_column: str | None = None,
        asset_group: TemplatedText | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.rows = rows
        # Until the task runs, all that is known of such a prompt is that there will be one.
        self.template = template if prompt_param is None else {**template, "prompt": "{{ params[prompt_param] }}"}
        self.prompt_param = prompt_param
        self.key_column = key_column
        self.asset_group = asset_group
        from airflow_provider_anyfast.batch.template import template_problems  # noqa: PLC0415 - only if there is a batch

        check_literals(self, RowsParameters, more=template_problems(self))

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Reads, renders and checks."""
        from airflow_provider_anyfast.tasks.mapped import check_rows  # noqa: PLC0415 - not while a DAG is parsed

        with fail_fast(context):
            return check_rows(self.rows, read(self, RowsParameters), self.get_template_env(), context)
