/**
 * Takes secrets out of what is to be kept or shown: messages that quote a refused value, outputs and defaults that were made of
 * one. Texts shorter than four characters are left: they are in every sentence, and no secret.
 */
import { SECURE } from '../../../templates/template.ts'
import { isTemplateObject, type TemplateObject, type TemplateValue, textOf } from '../../../templates/template-value.ts'

const SECRET_LENGTH_MIN = 4
const INSTEAD = '(secure)'

function scrubText(text: string, secrets: readonly string[]): string {
  return secrets
    .flatMap((secret) => [secret, JSON.stringify(secret).slice(1, -1), encodeURIComponent(secret)])
    .filter((secret) => secret.length >= SECRET_LENGTH_MIN)
    .sort((left, right) => right.length - left.length)
    .reduce((scrubbed, secret) => scrubbed.replaceAll(secret, INSTEAD), text)
}

/** The value without any of the texts, in names and values. */
export function scrub<T>(value: T, secrets: readonly string[]): T {
  if (secrets.length === 0) return value
  if (typeof value === 'string') return scrubText(value, secrets) as T
  if (typeof value !== 'object' || value === null) return value
  if (Array.isArray(value)) return value.map((item: unknown) => scrub(item, secrets)) as T
  return Object.fromEntries(
    Object.entries(value).map(([name, inner]) => [scrubText(name, secrets), scrub(inner as unknown, secrets)]),
  ) as T
}

/** The template as it may be kept: without defaults of secure parameters, and without what was given for them. */
export function templateToKeep(template: TemplateObject, secrets: readonly string[]): TemplateObject {
  const { parameters } = template
  const declared = isTemplateObject(parameters) ? Object.entries(parameters) : []
  const kept = declared.map(([name, declaration]): [string, TemplateValue] => {
    if (!isTemplateObject(declaration) || !SECURE.has(textOf(declaration['type'] ?? null).toLowerCase()))
      return [name, declaration]
    const { defaultValue: _default, ...rest } = declaration
    return [name, rest]
  })
  return scrub({ ...template, ...(declared.length > 0 && { parameters: Object.fromEntries(kept) }) }, secrets)
}
