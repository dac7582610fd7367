{{- define "resview.name" -}}
{{- default "resview" .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "resview.labels" -}}
app.kubernetes.io/name: resview
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end -}}

{{- /* What finds the pods of a part again: never changes, and the name is how the view's policy knows our own pods. */ -}}
{{- define "resview.selector" -}}
app.kubernetes.io/name: resview
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "resview.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{- /* The file policy.json, which the daemon and the webhook read. */ -}}
{{- define "resview.policy" -}}
{{- $policy := .Values.policy -}}
{{- dict "version" 1 "default" $policy.default "namespaces" (dict "on" (get $policy.namespaces "on") "off" (get $policy.namespaces "off")) "runtimeHandlersOff" $policy.runtimeHandlersOff "hostPid" $policy.hostPid | toPrettyJson -}}
{{- end -}}

{{- /* Names with * as one regular expression of CEL (RE2), in quotes of CEL. */ -}}
{{- define "resview.pattern" -}}
{{- $parts := list -}}
{{- range . -}}
{{- $parts = append $parts (regexQuoteMeta . | replace "\\*" ".*") -}}
{{- end -}}
r'^({{ join "|" $parts }})$'
{{- end -}}

{{- /* Namespaces that are never looked at, as expressions of a namespaceSelector. */ -}}
{{- define "resview.namespaces" -}}
# Neither the cluster's own pods nor those of this chart: they must start without it.
- key: kubernetes.io/metadata.name
  operator: NotIn
  values: [kube-system, {{ .Release.Namespace }}]
{{- if not .Values.inject.restrictedNamespaces }}
# They would refuse the pods for their hostPath volumes.
- key: pod-security.kubernetes.io/enforce
  operator: NotIn
  values: [baseline, restricted]
{{- end }}
{{- end -}}

{{- /* The conditions under which nobody has to be asked about a pod, in CEL. `name` of a webhook's condition. */ -}}
{{- define "resview.conditions" -}}
- name: not-a-static-pod
  expression: >-
    !has(object.metadata.annotations) || !('kubernetes.io/config.mirror' in object.metadata.annotations)
- name: not-our-own
  expression: >-
    !has(object.metadata.labels) || !('app.kubernetes.io/name' in object.metadata.labels)
    || object.metadata.labels['app.kubernetes.io/name'] != 'resview'
- name: not-windows
  expression: >-
    (!has(object.spec.os) || object.spec.os.name != 'windows') && (!has(object.spec.nodeSelector)
    || !('kubernetes.io/os' in object.spec.nodeSelector) || object.spec.nodeSelector['kubernetes.io/os'] != 'windows')
{{- if eq .Values.policy.hostPid "off" }}
- name: not-host-pid
  expression: >-
    !has(object.spec.hostPID) || !object.spec.hostPID
{{- end }}
{{- with .Values.policy.runtimeHandlersOff }}
- name: not-another-kernel
  expression: >-
    !has(object.spec.runtimeClassName)
    || !object.spec.runtimeClassName.matches({{ include "resview.pattern" . }})
{{- end }}
{{- if not .Values.inject.userNamespaces }}
- name: not-user-namespaces
  expression: >-
    !has(object.spec.hostUsers) || object.spec.hostUsers
{{- end }}
- name: not-opted-out
  expression: >-
    !has(object.metadata.annotations) || !('resview.dev/view' in object.metadata.annotations)
    || object.metadata.annotations['resview.dev/view'] != 'off'
{{- end -}}

{{- /* What is written into pods, as a list of CEL; volumes have the names that the webhook gives them. */ -}}
{{- define "resview.cel.files" -}}
{{- $lines := list -}}
{{- range .Values.inject.files -}}
{{- $name := trimPrefix "proc/" . | trimPrefix "sys/devices/system/" -}}
{{- $type := ternary "Directory" "File" (eq . "sys/devices/system/cpu") -}}
{{- $type = ternary $type "" (eq $.Values.inject.hostPathType "checked") -}}
{{- $line := "{'volume': 'resview-%s', 'name': '%s', 'path': '/%s', 'host': '%s/%s', 'type': '%s'}" -}}
{{- $lines = append $lines (printf $line (replace "/" "-" $name) $name . $.Values.inject.mountpoint . $type) -}}
{{- end -}}
[
  {{ join ",\n  " $lines }}
]
{{- end -}}

{{- /* Whether container c mounts nothing at, above or below the path of file f. */ -}}
{{- define "resview.cel.free" -}}
!has(c.volumeMounts) || !c.volumeMounts.exists(m, (m.mountPath + '/').startsWith(f.path + '/')
  || (f.path + '/').startsWith(m.mountPath + (m.mountPath.endsWith('/') ? '' : '/')))
{{- end -}}

{{- /* Containers of the list `.` with the mounts that they lack. */ -}}
{{- define "resview.cel.mounts" -}}
map(c, Object.spec.{{ . }}{
  name: c.name, volumeMounts: variables.files.filter(f, {{ include "resview.cel.free" . | nindent 4 | trim }}
  ).map(f, Object.spec.{{ . }}.volumeMounts{
    name: f.volume, mountPath: f.path, readOnly: true, mountPropagation: 'HostToContainer'
  })
})
{{- end -}}
