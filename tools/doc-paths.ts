/**
 * Documents name files and folders; this says which of those are not there. Checked are names in backticks that begin with
 * a folder of the repository, with or without arguments after them, and the targets of links that are no URL. Pure.
 */
import { posix } from 'node:path'
import type { SourceFile } from './layers.ts'

const NAMED = /`((?:src|test|sim|tools|docs|script|bench|demo|guest|bin)\/[\w./-]+)(?: [^`\n]*)?`/g
const LINKED = /\]\(([^)#\s]+)(?:#[^)]*)?\)/g
const IS_URL = /^[a-z]+:/

/** Paths that the document refers to, from the repository's root; a folder's has no slash at its end. */
export function pathsNamedIn(document: SourceFile): string[] {
  const folder = posix.dirname(document.path)
  const named = Array.from(document.text.matchAll(NAMED), (match) => match[1] ?? '')
  const linked = Array.from(document.text.matchAll(LINKED), (match) => match[1] ?? '')
    .filter((target) => !IS_URL.test(target))
    .map((target) => posix.join(folder, target))
  return [...new Set([...named, ...linked].map((path) => posix.normalize(path).replace(/\/$/, '')))]
}

/** A sentence for every path that a document names and no file of `paths` has or lies below. */
export function findDeadPaths(documents: readonly SourceFile[], paths: readonly string[]): string[] {
  if (documents.length === 0 || paths.length === 0) throw new Error('The check of paths in documents read nothing.')
  const there = new Set(paths.flatMap(withFolders))
  return documents.flatMap((document) =>
    pathsNamedIn(document)
      .filter((path) => !there.has(path))
      .map((path) => `${document.path}: names ${path}, which is not there`),
  )
}

function withFolders(path: string): string[] {
  const segments = path.split('/')
  return segments.map((_, i) => segments.slice(0, i + 1).join('/'))
}
