/**
 * What a worker answers about folders of its host, for pools that lie there.
 *
 *   folder.facts {path}   folder.prepare {path, reserveBytes}   → FolderFacts
 *   folder.real {path} → the path without links                 folder.contents {path} → names, at most CONTENTS_MAX
 */
import { isAbsolute } from 'node:path'
import type { RpcMethods } from '#runtime'
import { ServerError } from '../errors.ts'
import { parameterReader } from '../parameters.ts'
import { foldersHere } from '../places/check-folder.ts'

const CONTENTS_MAX = 100

function invalid(what: string): ServerError {
  return new ServerError('request_invalid', `The request has no valid ${what}.`, { facts: { what } })
}

const { fields: fieldsOf, text: textOf } = parameterReader(invalid)

function pathIn(params: unknown): string {
  const path = textOf(fieldsOf(params)['path'], 'path')
  if (isAbsolute(path)) return path
  throw invalid('path')
}

export const folderMethods: RpcMethods = {
  'folder.facts': (params) => foldersHere.facts(pathIn(params)),
  'folder.prepare': (params) => {
    const { reserveBytes } = fieldsOf(params)
    if (typeof reserveBytes !== 'number' || !(reserveBytes >= 0)) throw invalid('reserveBytes')
    return foldersHere.prepare(pathIn(params), reserveBytes)
  },
  'folder.real': (params) => foldersHere.real(pathIn(params)),
  'folder.contents': async (params) => (await foldersHere.contents(pathIn(params))).slice(0, CONTENTS_MAX),
}
