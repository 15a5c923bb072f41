{{/* What a schema cannot say well. */}}
{{- define "brainmvp.check" -}}
{{- $auth := .Values.auth -}}
{{- if and $auth.enabled (not $auth.keysSecret) (not .Values.settings.oidc_issuer) -}}
{{- fail "Nobody could call the service: name auth.keysSecret, or settings.oidc_issuer and settings.oidc_audience" -}}
{{- end -}}
{{- $jobs := .Values.jobs -}}
{{- if and $jobs.enabled (not (or $jobs.url $jobs.claim $jobs.size)) -}}
{{- fail "Jobs need a place: jobs.url, jobs.claim or, in mode single, jobs.size" -}}
{{- end -}}
{{- if and $jobs.url (not $jobs.database.secret) -}}
{{- fail "A bucket cannot hold the jobs' database: name jobs.database.secret" -}}
{{- end -}}
{{- end -}}
