{{- define "brainmvp.enginePod" -}}
{{- $job := .Values.engineJob -}}
{{ include "brainmvp.podBase" . }}
{{- with include "brainmvp.placement" $job }}
{{- . }}
{{- end }}
restartPolicy: Never
containers:
  - name: engines
    image: {{ include "brainmvp.image" (dict "root" . "kind" "gpu" "tag" .Values.image.tag) }}
    imagePullPolicy: {{ .Values.image.pullPolicy }}
    args:
      - build-engines
      - /models
      {{- range $job.args }}
      - {{ . | quote }}
      {{- end }}
    securityContext:
      {{- toYaml .Values.securityContext | nindent 6 }}
    resources:
      {{- include "brainmvp.resources" $job | nindent 6 }}
    volumeMounts:
      # Engines are written beside the bundles.
      - name: models
        mountPath: /models
        {{- with .Values.models.subPath }}
        subPath: {{ . }}
        {{- end }}
      - {name: tmp, mountPath: /tmp}
volumes:
  - name: models
    persistentVolumeClaim: {claimName: {{ .Values.models.claim }}}
  - name: tmp
    emptyDir: {sizeLimit: 4Gi}
{{- end -}}
