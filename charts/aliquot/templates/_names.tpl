{{- /* The version in which the cluster serves MutatingAdmissionPolicy, or "none". */ -}}
{{- define "aliquot.gates" -}}
{{- $group := "admissionregistration.k8s.io" -}}
{{- if ne .Values.gates "auto" -}}
{{- .Values.gates -}}
{{- else if .Capabilities.APIVersions.Has (printf "%s/v1/MutatingAdmissionPolicy" $group) -}}
v1
{{- else if semverCompare ">=1.36-0" .Capabilities.KubeVersion.Version -}}
v1
{{- else if .Capabilities.APIVersions.Has (printf "%s/v1beta1/MutatingAdmissionPolicy" $group) -}}
v1beta1
{{- else -}}
none
{{- end -}}
{{- end -}}

{{- define "aliquot.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) -}}
{{- end -}}
{{- end -}}
