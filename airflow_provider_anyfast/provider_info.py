"""What Airflow reads of this provider: its connection type with the form, its hook and its links."""

from __future__ import annotations

from typing import Any

from airflow_provider_anyfast import __version__

PROVIDER_INFO: dict[str, Any] = {
    "package-name": "airflow-provider-anyfast",
    "name": "AnyFast",
    "description": "Seedance videos and their asset library through AnyFast.",
    "versions": [__version__],
    "integrations": [
        {
            "integration-name": "AnyFast",
            "external-doc-url": "https://docs.anyfast.ai",
            "how-to-guide": [
                "/docs/airflow-provider-anyfast/operators/generate_video.md",
                "/docs/airflow-provider-anyfast/operators/generate_video_batch.md",
                "/docs/airflow-provider-anyfast/operators/check_rows.md",
                "/docs/airflow-provider-anyfast/operators/write_report.md",
                "/docs/airflow-provider-anyfast/operators/review_videos.md",
                "/docs/airflow-provider-anyfast/operators/download_video.md",
                "/docs/airflow-provider-anyfast/operators/create_asset_group.md",
                "/docs/airflow-provider-anyfast/operators/create_asset.md",
                "/docs/airflow-provider-anyfast/operators/create_assets.md",
                "/docs/airflow-provider-anyfast/operators/list_asset_groups.md",
                "/docs/airflow-provider-anyfast/operators/list_assets.md",
                "/docs/airflow-provider-anyfast/operators/delete_asset.md",
                "/docs/airflow-provider-anyfast/operators/delete_asset_group.md",
                "/docs/airflow-provider-anyfast/sensors/video_status.md",
                "/docs/airflow-provider-anyfast/sensors/asset_status.md",
            ],
            "tags": ["service"],
        }
    ],
    "hooks": [{"integration-name": "AnyFast", "python-modules": ["airflow_provider_anyfast.hooks.anyfast"]}],
    "operators": [
        {
            "integration-name": "AnyFast",
            "python-modules": [
                "airflow_provider_anyfast.operators.asset",
                "airflow_provider_anyfast.operators.asset_bulk",
                "airflow_provider_anyfast.operators.asset_deletion",
                "airflow_provider_anyfast.operators.asset_listing",
                "airflow_provider_anyfast.operators.batch",
                "airflow_provider_anyfast.operators.report",
                "airflow_provider_anyfast.operators.review",
                "airflow_provider_anyfast.operators.rows",
                "airflow_provider_anyfast.operators.video",
                "airflow_provider_anyfast.operators.video_download",
            ],
        }
    ],
    "sensors": [
        {
            "integration-name": "AnyFast",
            "python-modules": ["airflow_provider_anyfast.sensors.asset", "airflow_provider_anyfast.sensors.video"],
        }
    ],
    "triggers": [
        {
            "integration-name": "AnyFast",
            "python-modules": [
                "airflow_provider_anyfast.triggers.answer",
                "airflow_provider_anyfast.triggers.asset",
                "airflow_provider_anyfast.triggers.video",
            ],
        }
    ],
    "extra-links": [
        "airflow_provider_anyfast.links.report.AnyFastManifestLink",
        "airflow_provider_anyfast.links.report.AnyFastReportLink",
        "airflow_provider_anyfast.links.video.AnyFastVideoLink",
    ],
    "config": {
        "anyfast": {
            "description": "The AnyFast provider.",
            "options": {
                "videos_page": {
                    "description": (
                        "Whether Airflow's API server serves the Videos page of DAG runs and task instances. Set it "
                        "to the same value for all components."
                    ),
                    "type": "boolean",
                    "version_added": "0.1.0",
                    "example": None,
                    "default": "True",
                }
            },
        }
    },
    "connection-types": [
        {
            "connection-type": "anyfast",
            "hook-class-name": "airflow_provider_anyfast.hooks.anyfast.AnyFastHook",
            "hook-name": "AnyFast",
            "ui-field-behaviour": {
                "hidden-fields": ["login", "schema", "port"],
                "relabeling": {"password": "API key", "host": "Base URL"},
                "placeholders": {
                    "host": "https://www.anyfast.ai",
                    "password": "created in the AnyFast console, under Token",
                },
            },
            "conn-fields": {
                "timeout": {
                    "label": "Timeout (seconds)",
                    "description": "How long to wait for a response. Default: 60.",
                    "schema": {"type": ["number", "null"], "exclusiveMinimum": 0},
                },
                "submit_timeout": {
                    "label": "Submit timeout (seconds)",
                    "description": "The gateway holds the connection while it submits a video. Default: 300.",
                    "schema": {"type": ["number", "null"], "exclusiveMinimum": 0},
                },
                "max_retries": {
                    "label": "Retries of a call",
                    "description": "How often a call is repeated where that cannot cost twice. Default: 5.",
                    "schema": {"type": ["integer", "null"], "minimum": 0},
                },
                "verify": {
                    "label": "Verify TLS",
                    "description": "true, false, or the path of a CA file on the workers. Default: true.",
                    "schema": {"type": ["string", "null"]},
                },
                "price_per_million_tokens": {
                    "label": "Price per million tokens",
                    "description": "Converts tokens to money in results and logs. Default: none.",
                    "schema": {"type": ["number", "null"], "minimum": 0},
                },
                "proxy": {
                    "label": "Proxy",
                    "description": "An HTTP proxy such as http://user:password@proxy.example.com:3128.",
                    "schema": {"type": ["string", "null"], "format": "password"},
                },
            },
        }
    ],
}
