/**
 * The API as jobs ask it: in a principal's name, the way any request goes (roles, checks, activity log), and its storage accounts.
 * What the caller of a job may not do, the job may not either. Everything may be asked for twice.
 */
import { Desk } from './desk.ts'

/** In whose name the API is asked, and under which address it answers. */
export type ApiCaller = Readonly<{ principal: string; baseUrl: string; correlationId: string }>
export type ApiResource = Readonly<{ id: string; apiVersion: string; body?: unknown }>

export type ApiOutcome =
  | Readonly<{ kind: 'succeeded' }>
  /** Ask there how it goes. */
  | Readonly<{ kind: 'running'; url: string }>
  /** Something else is being done to the resource. */
  | Readonly<{ kind: 'busy'; error: Readonly<{ code: string; message: string }> }>
  | Readonly<{ kind: 'failed'; error: Readonly<{ code: string; message: string }> }>

export type BlobToWrite = Readonly<{ name: string; contentType: string; text: string }>

export interface ApiHost {
  put(caller: ApiCaller, resource: ApiResource, signal: AbortSignal): Promise<ApiOutcome>
  remove(caller: ApiCaller, resource: ApiResource, signal: AbortSignal): Promise<ApiOutcome>
  look(caller: ApiCaller, url: string, signal: AbortSignal): Promise<ApiOutcome>
  /** Writes blobs, over those of the same names. Whether the account was there. */
  writeBlobs(account: string, container: string, blobs: readonly BlobToWrite[]): Promise<boolean>
}

export class ApiDesk extends Desk<ApiHost> {}
