from cisterna.segment.service import main

raise SystemExit(main())
