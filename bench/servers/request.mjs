import { randomBytes } from 'node:crypto';

/** The request that every server gets: a POST of 1 KiB of JSON. */
export const METHOD = 'POST';
export const TARGET = '/VideoParser/?lang=en';
export const CONTENT_TYPE = 'application/json';
export const BODY = Buffer.from(videoOf(1024));

function videoOf(length) {
  const start = '{"videoUrl":"https://videos.example.net/cats.mp4","title":"';
  return `${start}${randomBytes(length)
    .toString('hex')
    .slice(0, length - start.length - 2)}"}`;
}
