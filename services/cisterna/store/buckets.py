"""Administration of S3 by the minio client: making the bucket that a store URL names."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

import urllib3
from minio import Minio
from minio.error import MinioException

from cisterna.store.errors import StoreRefused, StoreUnavailable


def ensure_bucket(url: str) -> bool:
    """Makes the bucket of an ``s3://`` URL where it is absent; True where this call made it.

    Endpoint and keys come from the environment, as for the store itself. Raises StoreUnavailable where the endpoint
    does not answer and StoreRefused where it will not have the bucket.
    """
    bucket = urlsplit(url).netloc
    endpoint = urlsplit(os.environ.get("AWS_ENDPOINT_URL") or "https://s3.amazonaws.com")
    client = Minio(
        endpoint.netloc,
        access_key=os.environ.get("AWS_ACCESS_KEY_ID"),
        secret_key=os.environ.get("AWS_SECRET_ACCESS_KEY"),
        session_token=os.environ.get("AWS_SESSION_TOKEN"),
        secure=endpoint.scheme == "https",
        region=os.environ.get("AWS_REGION", "us-east-1"),
        http_client=urllib3.PoolManager(timeout=urllib3.Timeout(connect=5, read=30), retries=urllib3.Retry(2)),
    )
    try:
        if client.bucket_exists(bucket_name=bucket):
            return False
        client.make_bucket(bucket_name=bucket)
    except MinioException as e:
        raise StoreRefused(
            f"bucket {bucket} at {endpoint.netloc} cannot be used: {e}; check name, keys and rights"
        ) from e
    except (urllib3.exceptions.HTTPError, OSError) as e:
        raise StoreUnavailable(f"{endpoint.netloc} does not answer for bucket {bucket}: {e}") from e
    return True
